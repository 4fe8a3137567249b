import java.util.Properties;
import java.util.concurrent.ExecutionException;

import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.StringSerializer;

/** An application as people write them: a KafkaProducer that sends keyed messages. */
public final class Produce {
    public static void main(String[] args) throws ExecutionException, InterruptedException {
        Properties props = new Properties();
        props.put("bootstrap.servers", args[0]);
        props.put("key.serializer", StringSerializer.class.getName());
        props.put("value.serializer", StringSerializer.class.getName());
        int count = Integer.parseInt(args[2]);
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(props)) {
            RecordMetadata last = null;
            for (int i = 0; i < count; i++) {
                last = producer.send(new ProducerRecord<>(args[1], "key-" + i % 10, "message-" + i)).get();
            }
            System.out.println("sent " + count + ", the last to " + last);
        }
    }
}

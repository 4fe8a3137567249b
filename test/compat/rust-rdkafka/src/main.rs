//! An application on rust-rdkafka, which is librdkafka: topics, every codec, acks, groups,
//! transactions, administration. Usage: rust-rdkafka-client ADDR NAME REPLICAS.

use std::collections::HashMap;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use futures_executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

const PARTITIONS: i32 = 6;
const COUNT: usize = 600;
const MINUTE: Duration = Duration::from_secs(60);

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Counts the deliveries that were refused.
struct Deliveries(std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult, _: ()) {
        if let Err((e, _)) = result {
            eprintln!("refused: {e}");
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }
}

struct Client {
    addr: String,
    name: String,
    replicas: i32,
    admin: AdminClient<DefaultClientContext>,
    tests: usize,
    passed: usize,
}

fn equal<T: PartialEq + Debug>(want: T, got: T) -> Outcome {
    if want == got {
        return Ok(());
    }
    let (want, got) = (format!("{want:?}"), format!("{got:?}"));
    Err(format!("want {:.300}, got {:.300}", want, got).into())
}

fn key(i: usize) -> Option<String> {
    (i % 10 != 9).then(|| format!("key-{}", i % 10))
}

fn value(i: usize) -> Option<String> {
    (i % 50 != 48).then(|| format!("message {i} {}", "ä€𝄞 ".repeat(i % 40)))
}

fn headers(i: usize) -> Vec<(String, Option<Vec<u8>>)> {
    vec![
        ("number".into(), Some(i.to_string().into_bytes())),
        ("null".into(), None),
        ("number".into(), Some(vec![0, i as u8])),
    ]
}

fn number(m: &OwnedMessage) -> usize {
    let h = m.headers().expect("headers").get(0);
    std::str::from_utf8(h.value.expect("a number")).unwrap().parse().unwrap()
}

/// These numbers, each once, whole, and those of a key in the order in which they were
/// sent.
fn exactly(mut got: Vec<OwnedMessage>, want: Vec<usize>) -> Outcome {
    got.sort_by_key(|m| (m.partition(), m.offset()));
    let mut last: HashMap<Option<String>, usize> = HashMap::new();
    for m in &got {
        let i = number(m);
        equal(key(i).map(String::into_bytes), m.key().map(<[u8]>::to_vec))?;
        equal(value(i).map(String::into_bytes), m.payload().map(<[u8]>::to_vec))?;
        let found: Vec<_> = m.headers().unwrap().iter().map(|h| (h.key.to_string(), h.value.map(<[u8]>::to_vec))).collect();
        equal(headers(i), found)?;
        if let (Some(before), true) = (last.insert(key(i), i), key(i).is_some()) {
            if before >= i {
                return Err(format!("{i} comes after {before}").into());
            }
        }
    }
    let mut numbers: Vec<_> = got.iter().map(number).collect();
    numbers.sort();
    equal(want, numbers)
}

fn until(what: &str, mut condition: impl FnMut() -> bool) -> Outcome {
    let end = Instant::now() + MINUTE;
    while !condition() {
        if Instant::now() > end {
            return Err(format!("{what}: not in a minute").into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// eventually asks again for a while: what one node has been told by the controller,
/// another one may learn a moment later, with Apache Kafka's nodes too.
fn eventually(mut body: impl FnMut() -> Outcome) -> Outcome {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let outcome = body();
        if outcome.is_ok() || Instant::now() > end {
            return outcome;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// poll gives so many messages, and what comes in a moment after them.
fn poll(consumer: &BaseConsumer, count: usize) -> KafkaResult<Vec<OwnedMessage>> {
    let (mut got, end) = (Vec::new(), Instant::now() + MINUTE);
    while got.len() < count && Instant::now() < end {
        if let Some(m) = consumer.poll(Duration::from_millis(300)) {
            got.push(m?.detach());
        }
    }
    while let Some(m) = consumer.poll(Duration::from_millis(500)) {
        got.push(m?.detach());
    }
    Ok(got)
}

impl Client {
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.addr);
        config
    }

    fn producer(&self, more: &[(&str, &str)]) -> KafkaResult<(ThreadedProducer<Deliveries>, std::sync::Arc<std::sync::atomic::AtomicUsize>)> {
        let mut config = self.config();
        config.set("linger.ms", "5");
        for (k, v) in more {
            config.set(*k, *v);
        }
        let refused = std::sync::Arc::default();
        Ok((config.create_with_context(Deliveries(std::sync::Arc::clone(&refused)))?, refused))
    }

    fn send(&self, topic: &str, more: &[(&str, &str)], numbers: impl Iterator<Item = usize>) -> Outcome {
        let (producer, refused) = self.producer(more)?;
        send_with(&producer, topic, numbers)?;
        equal(0, refused.load(std::sync::atomic::Ordering::SeqCst))
    }

    fn consumer(&self, group: &str, more: &[(&str, &str)]) -> KafkaResult<BaseConsumer> {
        let mut config = self.config();
        config.set("group.id", group).set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
        for (k, v) in more {
            config.set(*k, *v);
        }
        config.create()
    }

    fn read(&self, topic: &str, count: usize, isolation: &str) -> KafkaResult<Vec<OwnedMessage>> {
        let consumer = self.consumer("unused", &[("isolation.level", isolation)])?;
        let mut all = TopicPartitionList::new();
        for p in 0..PARTITIONS {
            all.add_partition_offset(topic, p, Offset::Beginning)?;
        }
        consumer.assign(&all)?;
        poll(&consumer, count)
    }

    fn topic(&self, suffix: &str) -> Result<String, Box<dyn std::error::Error>> {
        let topic = format!("{}-{suffix}", self.name);
        let new = NewTopic::new(&topic, PARTITIONS, TopicReplication::Fixed(self.replicas));
        for result in block_on(self.admin.create_topics(&[new], &AdminOptions::new().operation_timeout(Some(MINUTE))))? {
            result.map_err(|(t, e)| format!("{t}: {e}"))?;
        }
        Ok(topic)
    }

    fn test(&mut self, what: &str, body: impl FnOnce(&Client) -> Outcome) {
        self.tests += 1;
        match body(self) {
            Ok(()) => {
                self.passed += 1;
                println!("ok {what}");
            }
            Err(e) => println!("FAIL {what}: {e}"),
        }
    }

    fn topics(&self) -> Outcome {
        let topic = self.topic("topics")?;
        match self.topic("topics") {
            Err(e) if e.to_string().contains("Topic already exists") => {}
            other => return Err(format!("created again: {other:?}").into()),
        }
        eventually(|| {
            let found = self.admin.inner().fetch_metadata(Some(&topic), MINUTE)?;
            let isr: Vec<_> = found.topics()[0].partitions().iter().map(|p| p.isr().len()).collect();
            equal(vec![self.replicas as usize; PARTITIONS as usize], isr)
        })
    }

    fn round_trip(&self, suffix: &str, more: &[(&str, &str)]) -> Outcome {
        let topic = self.topic(suffix)?;
        self.send(&topic, more, 0..COUNT)?;
        exactly(self.read(&topic, COUNT, "read_committed")?, (0..COUNT).collect())
    }

    /// Without acks a node that has not yet learned that it leads drops the records, and
    /// nobody hears of it: the topic is one whose leaders have already taken some.
    fn no_acks(&self) -> Outcome {
        let topic = format!("{}-none", self.name);
        self.send(&topic, &[("acks", "0")], COUNT..2 * COUNT)?;
        exactly(self.read(&topic, 2 * COUNT, "read_committed")?, (0..2 * COUNT).collect())
    }

    fn group(&self, protocol: &str) -> Outcome {
        let topic = self.topic(&format!("group-{protocol}"))?;
        for (from, to) in [(0, COUNT), (COUNT, COUNT + 100)] {
            self.send(&topic, &[], from..to)?;
            let consumer = self.consumer(&topic, &[("group.protocol", protocol)])?;
            consumer.subscribe(&[&topic])?;
            exactly(poll(&consumer, to - from)?, (from..to).collect())?;
            consumer.commit_consumer_state(CommitMode::Sync)?;
        }
        Ok(())
    }

    fn members(&self, protocol: &str) -> Outcome {
        let topic = self.topic(&format!("members-{protocol}"))?;
        let one = self.consumer(&topic, &[("group.protocol", protocol)])?;
        let two = self.consumer(&topic, &[("group.protocol", protocol)])?;
        one.subscribe(&[&topic])?;
        two.subscribe(&[&topic])?;
        let owned = |c: &BaseConsumer| {
            c.poll(Duration::from_millis(50));
            c.assignment().map(|a| a.count() as i32).unwrap_or(-1)
        };
        until("two members with half of the partitions each", || (owned(&one), owned(&two)) == (PARTITIONS / 2, PARTITIONS / 2))?;
        drop(one);
        until("the last member has them all", || owned(&two) == PARTITIONS)
    }

    fn group_administration(&self) -> Outcome {
        let group = format!("{}-group-classic", self.name);
        let listed = || -> Result<bool, Box<dyn std::error::Error>> {
            Ok(self.admin.inner().fetch_group_list(None, MINUTE)?.groups().iter().any(|g| g.name() == group))
        };
        equal(true, listed()?)?;
        let found = self.admin.inner().fetch_group_list(Some(&group), MINUTE)?;
        equal("Empty", found.groups()[0].state())?;
        for result in block_on(self.admin.delete_groups(&[&group], &AdminOptions::new()))? {
            result.map_err(|(g, e)| format!("{g}: {e}"))?;
        }
        equal(false, listed()?)
    }

    fn transactions(&self) -> Outcome {
        let topic = self.topic("transactions")?;
        let (producer, _) = self.producer(&[("transactional.id", &topic)])?;
        producer.init_transactions(MINUTE)?;
        for n in 0..6 {
            producer.begin_transaction()?;
            send_with(&producer, &topic, n * 100..n * 100 + 100)?;
            if n % 2 == 0 {
                producer.commit_transaction(MINUTE)?;
            } else {
                producer.abort_transaction(MINUTE)?;
            }
        }
        exactly(self.read(&topic, 300, "read_committed")?, (0..600).filter(|i| i / 100 % 2 == 0).collect())?;
        exactly(self.read(&topic, 600, "read_uncommitted")?, (0..600).collect())
    }

    /// copy goes on in three lives where the offsets in transactions stopped.
    fn copy(&self) -> Outcome {
        let (from, to) = (self.topic("copy-from")?, self.topic("copy-to")?);
        self.send(&from, &[], 0..COUNT)?;
        let mut copied = 0;
        for life in 1..=3 {
            let consumer = self.consumer(&from, &[])?;
            let (producer, _) = self.producer(&[("transactional.id", &from)])?;
            producer.init_transactions(MINUTE)?;
            consumer.subscribe(&[&from])?;
            let end = Instant::now() + MINUTE;
            while copied < life * COUNT / 3 && Instant::now() < end {
                producer.begin_transaction()?;
                let mut taken = 0;
                while taken < 50 {
                    let Some(m) = consumer.poll(Duration::from_millis(200)) else { break };
                    let m = m?.detach();
                    send_record(&producer, &to, &m)?;
                    taken += 1;
                }
                producer.send_offsets_to_transaction(&consumer.position()?, &consumer.group_metadata().ok_or("no group metadata")?, MINUTE)?;
                producer.commit_transaction(MINUTE)?;
                copied += taken;
            }
        }
        let mut numbers: Vec<_> = self.read(&to, COUNT, "read_committed")?.iter().map(number).collect();
        numbers.sort();
        equal((0..COUNT).collect(), numbers)
    }

    fn fenced(&self) -> Outcome {
        let topic = self.topic("fenced")?;
        let (one, _) = self.producer(&[("transactional.id", &topic)])?;
        let (two, _) = self.producer(&[("transactional.id", &topic)])?;
        one.init_transactions(MINUTE)?;
        one.begin_transaction()?;
        send_with(&one, &topic, 0..10)?;
        two.init_transactions(MINUTE)?;
        two.begin_transaction()?;
        send_with(&two, &topic, 10..20)?;
        two.commit_transaction(MINUTE)?;
        equal(true, one.commit_transaction(MINUTE).is_err())?;
        exactly(self.read(&topic, 10, "read_committed")?, (10..20).collect())
    }

    fn times(&self) -> Outcome {
        let topic = self.topic("times")?;
        let (producer, _) = self.producer(&[])?;
        // Much older ones might be deleted at any time.
        let start = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as i64 - 3_600_000;
        for i in 0..100 {
            let record: BaseRecord<str, str> = BaseRecord::to(&topic).payload("value").partition(3).timestamp(start + i * 1000);
            producer.send(record).map_err(|(e, _)| e)?;
        }
        producer.flush(MINUTE)?;
        let consumer = self.consumer("unused", &[])?;
        equal((0, 100), consumer.fetch_watermarks(&topic, 3, MINUTE)?)?;
        let mut at = TopicPartitionList::new();
        at.add_partition_offset(&topic, 3, Offset::Offset(start + 49_001))?;
        equal(Offset::Offset(50), consumer.offsets_for_times(at, MINUTE)?.elements()[0].offset())?;
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(&topic, 3, Offset::Offset(40))?;
        block_on(self.admin.delete_records(&before, &AdminOptions::new().operation_timeout(Some(MINUTE))))?;
        equal((40, 100), consumer.fetch_watermarks(&topic, 3, MINUTE)?)
    }

    fn configs(&self) -> Outcome {
        let topic = self.topic("configs")?;
        let options = AdminOptions::new().operation_timeout(Some(MINUTE));
        let alter = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("retention.ms", "123456");
        for result in block_on(self.admin.alter_configs(&[alter], &options))? {
            result.map_err(|(r, e)| format!("{r:?}: {e}"))?;
        }
        eventually(|| {
            let found = block_on(self.admin.describe_configs(&[ResourceSpecifier::Topic(&topic)], &options))?;
            let entry = found[0].as_ref().map_err(|e| e.to_string())?.get("retention.ms").ok_or("no retention.ms")?.value.clone();
            equal(Some("123456".to_string()), entry)
        })?;
        for result in block_on(self.admin.create_partitions(&[NewPartitions::new(&topic, PARTITIONS as usize + 2)], &options))? {
            result.map_err(|(t, e)| format!("{t}: {e}"))?;
        }
        eventually(|| {
            let found = self.admin.inner().fetch_metadata(Some(&topic), MINUTE)?;
            equal((PARTITIONS as usize + 2, self.replicas as usize), (found.topics()[0].partitions().len(), found.brokers().len()))
        })
    }

    fn delete_topics(&self) -> Outcome {
        let topic = format!("{}-topics", self.name);
        for result in block_on(self.admin.delete_topics(&[&topic], &AdminOptions::new().operation_timeout(Some(MINUTE))))? {
            result.map_err(|(t, e)| format!("{t}: {e}"))?;
        }
        until("the topic is gone", || {
            self.admin.inner().fetch_metadata(None, MINUTE).is_ok_and(|found| found.topics().iter().all(|t| t.name() != topic))
        })
    }
}

fn send_with(producer: &ThreadedProducer<Deliveries>, topic: &str, numbers: impl Iterator<Item = usize>) -> KafkaResult<()> {
    for i in numbers {
        let mut hs = OwnedHeaders::new();
        for (k, v) in headers(i) {
            hs = hs.insert(Header { key: &k, value: v.as_ref() });
        }
        let (k, v) = (key(i), value(i));
        let mut record: BaseRecord<str, str> = BaseRecord::to(topic).headers(hs);
        record.key = k.as_deref();
        record.payload = v.as_deref();
        producer.send(record).map_err(|(e, _)| e)?;
    }
    producer.flush(MINUTE)
}

fn send_record(producer: &ThreadedProducer<Deliveries>, topic: &str, m: &OwnedMessage) -> KafkaResult<()> {
    let mut record: BaseRecord<[u8], [u8]> = BaseRecord::to(topic).headers(m.headers().cloned().unwrap_or_default());
    record.key = m.key();
    record.payload = m.payload();
    producer.send(record).map_err(|(e, _)| e)
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, addr, name, replicas] = &args[..] else { panic!("usage: ADDR NAME REPLICAS") };
    let admin = ClientConfig::new().set("bootstrap.servers", addr).create().expect("an admin client");
    let mut client = Client { addr: addr.clone(), name: name.clone(), replicas: replicas.parse().expect("a number"), admin, tests: 0, passed: 0 };
    client.test("topics are created, and once only", Client::topics);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        client.test(&format!("records with keys, headers and nulls, {codec}"), |c| c.round_trip(codec, &[("compression.type", codec)]));
    }
    client.test("acks=0", Client::no_acks);
    for acks in ["1", "all"] {
        client.test(&format!("acks={acks}"), |c| c.round_trip(&format!("acks-{acks}"), &[("acks", acks)]));
    }
    client.test("an idempotent producer", |c| c.round_trip("idempotent", &[("enable.idempotence", "true")]));
    for protocol in ["classic", "consumer"] {
        client.test(&format!("a group goes on where it stopped, {protocol}"), |c| c.group(protocol));
        client.test(&format!("two members share the partitions, {protocol}"), |c| c.members(protocol));
    }
    client.test("a group is described and deleted", Client::group_administration);
    client.test("transactions are committed and aborted", Client::transactions);
    client.test("offsets are committed in a transaction", Client::copy);
    client.test("a second producer fences the first", Client::fenced);
    client.test("offsets are found by time, records are deleted", Client::times);
    client.test("configurations, partitions and the cluster", Client::configs);
    client.test("topics are deleted", Client::delete_topics);
    println!("tests {} passed {}", client.tests, client.passed);
    std::process::exit(i32::from(client.passed != client.tests));
}

"""librdkafka's producer and consumer as test/compat/codes drives them.

Usage: codes.py ADDR. A line of standard input is a row to try: SCENARIO NAME WHEN.
"""

import queue
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

LINES = queue.Queue()
ADDR = sys.argv[1]


def read_lines():
    for line in sys.stdin:
        LINES.put(line.strip())
    LINES.put("")


def say(*words):
    print(*words, flush=True)


def arm():
    """Lets the code come with the next response."""
    say("arm")
    while LINES.get() != "go":
        pass


def common():
    return {
        "bootstrap.servers": ADDR,
        "retry.backoff.ms": 20,
        "retry.backoff.max.ms": 100,
        "socket.timeout.ms": 15000,
        "log_level": 0,
    }


class Transactions:
    def __init__(self, name):
        self.name = name
        self.repeated = None
        conf = common()
        conf.update({"transactional.id": name, "transaction.timeout.ms": 20000, "linger.ms": 0})
        self.producer = Producer(conf)
        conf = common()
        conf["group.id"] = name
        self.group = Consumer(conf)

    def call(self, f, *args):
        """Calls until the error is none that the documentation says to repeat."""
        for _ in range(50):
            try:
                return f(*args)
            except KafkaException as e:
                if not e.args[0].retriable():
                    raise
                self.repeated = e
                time.sleep(0.05)
        raise self.repeated

    def transaction(self, suffix):
        p = self.producer
        p.begin_transaction()
        p.produce("codes", self.name + suffix)
        p.flush(15)
        self.call(p.send_offsets_to_transaction, [TopicPartition("in", 0, 1)], self.group.consumer_group_metadata(), 10)
        self.call(p.commit_transaction, 15)

    def run(self, first):
        try:
            self.call(self.producer.init_transactions, 15)
            if not first:
                arm()
            self.transaction("/1")
            return ("repeats", self.repeated) if self.repeated else ("goes-on", "")
        except KafkaException as e:
            why = e
        if why.args[0].fatal():
            return "fatal", why
        try:
            self.call(self.producer.abort_transaction, 15)
            self.transaction("/2")
            return "abortable", why
        except KafkaException:
            return "fatal", why


def transact(name, first):
    if first:
        arm()
    t = Transactions(name)
    try:
        return t.run(first)
    finally:
        t.group.close()


def read(name, protocol, first, quiet):
    """Reads and commits until it has done so three times after the code came."""
    conf = common()
    conf.update({"group.id": name, "group.protocol": protocol, "auto.offset.reset": "earliest", "enable.auto.commit": False})
    if protocol == "classic":
        conf.update({"session.timeout.ms": 6000, "heartbeat.interval.ms": 100})
    if first:
        arm()
    consumer = Consumer(conf)
    consumer.subscribe(["in"])
    armed, injected, good, why = first, False, 0, ""
    end = time.monotonic() + 25
    while time.monotonic() < end and good < 3:
        ok = False
        try:
            message = consumer.poll(0.1)
            if message is not None and message.error():
                why = why or message.error()
                if message.error().fatal():
                    break
            elif message is not None:
                if injected or not armed or not quiet:
                    consumer.commit(message=message, asynchronous=False)
                ok = True
        except KafkaException as e:
            why = why or e
            if e.args[0].fatal():
                break
        if ok and not armed:
            arm()
            armed = True
            continue
        if not injected and not LINES.empty():
            injected = LINES.get() == "injected"
        if injected and ok:
            good += 1
        time.sleep(0.02)
    # A member that was told a fatal error may never come back from its close.
    closing = threading.Thread(target=consumer.close, daemon=True)
    closing.start()
    closing.join(5)
    if good < 3:
        return "fatal", why
    return ("told" if why else "goes-on"), why


def main():
    threading.Thread(target=read_lines, daemon=True).start()
    while True:
        row = LINES.get().split(" ")
        if row == [""]:
            return
        if len(row) != 3:
            continue  # "injected", of a row that ended before
        scenario, name, when = row
        if scenario == "txn":
            outcome = transact(name, when == "first")
        else:
            outcome = read(name, scenario, when == "first", when == "quiet")
        say("outcome", outcome[0], str(outcome[1]).replace("\n", " "))


main()

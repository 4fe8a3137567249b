"""What the programs of this folder share: the records that they send, the checks that
what came back is exactly these, and the count of the tests."""

import sys
import time
import traceback

PARTITIONS = 6
# The first time of records that have times: much older ones might be deleted at any time.
START = int(time.time() * 1000) - 3_600_000
COUNT = 600
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def key(i):
    return None if i % 10 == 9 else b"key-%d" % (i % 10)


def value(i):
    return None if i % 50 == 48 else ("message %d " % i + "ä€𝄞 " * (i % 40)).encode()


def partition(i):
    """That of a record without a key, so that every partition has some; None for others."""
    return i // 10 % PARTITIONS if key(i) is None else None


def headers(i):
    return [("number", b"%d" % i), ("empty", b""), ("number", bytes([0, i % 256]))]


def number(record_headers):
    return int(record_headers[0][1])


def equal(want, got):
    assert want == got, "want %.500r, got %.500r" % (want, got)


def exactly(records, numbers):
    """records are (partition, offset, key, value, headers): these numbers, each once,
    whole, and those of a key in the order in which they were sent."""
    equal(sorted(numbers), sorted(number(r[4]) for r in records))
    last = {}
    for partition, offset, k, v, hs in sorted(records, key=lambda r: (r[0], r[1])):
        i = number(hs)
        equal((key(i), value(i)), (k, v))
        equal(headers(i), [(name, bytes(data)) for name, data in hs])
        if k is not None:
            assert last.get(k, -1) < i, "%d comes after %d" % (i, last[k])
            last[k] = i


def until(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "%s: not in %d seconds" % (what, seconds)
        time.sleep(0.1)


def eventually(body, seconds=10):
    """Asks again for a while: what one node has been told by the controller, another one
    may learn a moment later, with Apache Kafka's nodes too."""
    end = time.monotonic() + seconds
    while True:
        try:
            return body()
        except Exception:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


class Tests:
    """Tests counts and prints what each test came to; done ends the program."""

    def __init__(self):
        self.tests = self.passed = 0

    def passes(self, name):
        self.tests += 1
        self.passed += 1
        print("ok", name, flush=True)

    def fails(self, name):
        self.tests += 1
        error = sys.exc_info()[1]
        print("FAIL %s: %s: %s" % (name, type(error).__name__, error), flush=True)
        traceback.print_exc()

    def run(self, name, body, *args):
        try:
            body(*args)
            self.passes(name)
        except Exception:
            self.fails(name)

    async def run_async(self, name, body, *args):
        try:
            await body(*args)
            self.passes(name)
        except Exception:
            self.fails(name)

    def done(self):
        print("tests %d passed %d" % (self.tests, self.passed), flush=True)
        sys.exit(0 if self.tests == self.passed else 1)

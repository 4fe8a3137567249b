package config

import "testing"

func TestDecompressionIsBoundedByDefault(t *testing.T) {
	for _, c := range []struct{ max, message, want, stored int }{
		{boundless, 1048588, 256 << 20, 256 << 20},
		{boundless, 100 << 20, 1600 << 20, 1600 << 20},
		{boundless, 1 << 30, boundless, boundless},
		{5000, 1048588, 5000, 256 << 20},
		{300 << 20, 1048588, 300 << 20, 300 << 20},
	} {
		topic := Topic{MaxDecompressedMessageBytes: c.max, MaxMessageBytes: c.message}
		if got := topic.MaxDecompressedBatchBytes(); got != c.want {
			t.Errorf("max.decompressed.message.bytes=%d max.message.bytes=%d bounds a batch to %d, want %d", c.max, c.message, got, c.want)
		}
		if got := topic.MaxStoredBatchBytes(); got != c.stored {
			t.Errorf("max.decompressed.message.bytes=%d max.message.bytes=%d bounds a batch in the log to %d, want %d", c.max, c.message, got, c.stored)
		}
	}
	topic, err := Default(nil).TopicConfig(nil)
	if err != nil || topic.MaxDecompressedMessageBytes != boundless {
		t.Errorf("the default is %d, %v", topic.MaxDecompressedMessageBytes, err)
	}
}

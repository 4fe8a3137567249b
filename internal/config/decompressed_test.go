package config

import "testing"

func TestDecompressionIsBoundedByDefault(t *testing.T) {
	for _, c := range []struct{ max, message, want int }{
		{boundless, 1048588, 256 << 20},
		{boundless, 100 << 20, 1600 << 20},
		{boundless, 1 << 30, boundless},
		{5000, 1048588, 5000},
	} {
		topic := Topic{MaxDecompressedMessageBytes: c.max, MaxMessageBytes: c.message}
		if got := topic.MaxDecompressedBatchBytes(); got != c.want {
			t.Errorf("max.decompressed.message.bytes=%d max.message.bytes=%d bounds a batch to %d, want %d", c.max, c.message, got, c.want)
		}
	}
	topic, err := Default(nil).TopicConfig(nil)
	if err != nil || topic.MaxDecompressedMessageBytes != boundless {
		t.Errorf("the default is %d, %v", topic.MaxDecompressedMessageBytes, err)
	}
}

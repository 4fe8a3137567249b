package main

import "testing"

func TestHistogramKeepsThreeDigits(t *testing.T) {
	for _, v := range []uint64{0, 1, 2047, 2048, 5000, 123456, 9_999_999} {
		low := lowest(slot(v))
		if low > v || float64(v-low) > float64(v)/1000+1 {
			t.Errorf("%d is counted as %d", v, low)
		}
	}
	var h hist
	for i := int64(1); i <= 1000; i++ {
		h.add(i)
	}
	if q := h.quantile(0.99); q < 989 || q > 992 {
		t.Errorf("p99 of 1..1000 is %d", q)
	}
}

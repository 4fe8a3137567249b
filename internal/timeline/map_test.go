package timeline

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strconv"
	"testing"
)

// version is a map with the content it must have for ever.
type version[K comparable] struct {
	m    Map[K, int]
	want map[K]int
}

func (v version[K]) check(t *testing.T) {
	t.Helper()
	if v.m.Len() != len(v.want) {
		t.Fatalf("Len is %d, want %d", v.m.Len(), len(v.want))
	}
	seen := 0
	for k, got := range v.m.All() {
		if want, ok := v.want[k]; !ok || want != got {
			t.Fatalf("All yields %v=%d, want %d, %v", k, got, want, ok)
		}
		seen++
	}
	if seen != len(v.want) {
		t.Fatalf("All yields %d keys, want %d", seen, len(v.want))
	}
	for k, want := range v.want {
		if got, ok := v.m.Get(k); !ok || got != want || !v.m.Has(k) {
			t.Fatalf("Get(%v) = %d, %v, want %d", k, got, ok, want)
		}
	}
	if v.m.root != nil {
		checkShape(t, v.m.root, true)
	}
}

// checkShape asserts the invariants of a node.
func checkShape[K comparable, V any](t *testing.T, n *node[K, V], root bool) {
	t.Helper()
	if !root && len(n.children) == 0 && len(n.entries) < 2 {
		t.Fatalf("a node below the root with %d entries and no child", len(n.entries))
	}
	for _, c := range n.children {
		checkShape(t, c, false)
	}
}

// testModel runs random operations on a chain of versions beside plain maps and checks every old version at the end.
func testModel[K comparable](t *testing.T, seed int64, keys []K, hash func(K) uint64) {
	rng := rand.New(rand.NewSource(seed))
	m := Map[K, int]{hash: hash}
	model := map[K]int{}
	var versions []version[K]
	for i := range 3000 {
		k := keys[rng.Intn(len(keys))]
		switch rng.Intn(8) {
		case 0, 1, 2:
			m = m.Set(k, i)
			model[k] = i
		case 3, 4, 5:
			m = m.Delete(k)
			delete(model, k)
		case 6:
			b := m.Builder()
			for range rng.Intn(20) {
				k := keys[rng.Intn(len(keys))]
				if rng.Intn(2) == 0 {
					b.Set(k, i)
					model[k] = i
				} else {
					b.Delete(k)
					delete(model, k)
				}
			}
			m = b.Map()
			b.Set(k, -1)
			b.Delete(keys[0])
		case 7:
			_, want := model[k]
			if m.Has(k) != want {
				t.Fatalf("Has(%v) = %v", k, !want)
			}
		}
		if i%100 == 0 {
			versions = append(versions, version[K]{m, maps.Clone(model)})
		}
	}
	versions = append(versions, version[K]{m, model})
	for _, v := range versions {
		v.check(t)
	}
}

func TestMapAgainstModel(t *testing.T) {
	var names []string
	for i := range 200 {
		names = append(names, fmt.Sprintf("topic-%d", i))
	}
	for seed := range int64(10) {
		testModel(t, seed, names, nil)
	}
}

func TestMapWithBadHashes(t *testing.T) {
	keys := make([]int, 60)
	for i := range keys {
		keys[i] = i
	}
	for name, hash := range map[string]func(int) uint64{
		"all equal":  func(int) uint64 { return 42 },
		"high bits":  func(k int) uint64 { return uint64(k) << 58 },
		"last bits":  func(k int) uint64 { return uint64(k) << 62 },
		"seven ways": func(k int) uint64 { return uint64(k % 7) },
	} {
		t.Run(name, func(t *testing.T) { testModel(t, 1, keys, hash) })
	}
}

type partition struct {
	topic string
	index int32
}

type mixed struct {
	id    [16]byte
	flag  bool
	small int16
	pair  [2]partition
	name  topicName
}

type topicName string

func TestMapKeyTypes(t *testing.T) {
	var partitions []partition
	var mixedKeys []mixed
	var ids [][16]byte
	for i := range 100 {
		p := partition{"t" + strconv.Itoa(i/7), int32(i % 7)}
		partitions = append(partitions, p)
		id := [16]byte{byte(i), 15: byte(i / 3)}
		ids = append(ids, id)
		mixedKeys = append(mixedKeys, mixed{id: id, flag: i%2 == 0, small: int16(-i), pair: [2]partition{1: p}, name: "x"})
	}
	t.Run("struct", func(t *testing.T) { testModel(t, 1, partitions, nil) })
	t.Run("nested", func(t *testing.T) { testModel(t, 2, mixedKeys, nil) })
	t.Run("array", func(t *testing.T) { testModel(t, 3, ids, nil) })
	t.Run("named", func(t *testing.T) { testModel(t, 4, []topicName{"", "a", "b", "longer than eight"}, nil) })
	t.Run("int64", func(t *testing.T) { testModel(t, 5, []int64{-1, 0, 1, 1 << 40, -1 << 63}, nil) })
}

const (
	wantOrders  = 0x7ce690d7ff583fa9
	wantOrders3 = 0x76cd09bff58ae2be
)

// TestHashIsFixed pins the hash: a change of it would change orders of iteration.
func TestHashIsFixed(t *testing.T) {
	byPlan := func(s string) uint64 { return hasherOf[topicName]()(topicName(s)) }
	for _, s := range []string{"", "a", "orders", "exactly8", "a longer topic name"} {
		if byPlan(s) == byPlan(s+"x") {
			t.Fatalf("%q and %qx have one hash", s, s)
		}
	}
	if got := hasherOf[string]()("orders"); got != wantOrders {
		t.Fatalf("hash of orders is %#x", got)
	}
	if got := hasherOf[partition]()(partition{"orders", 3}); got != wantOrders3 {
		t.Fatalf("hash of orders-3 is %#x", got)
	}
}

func TestHashSpreads(t *testing.T) {
	hash := hasherOf[partition]()
	var slots [1024]int
	const keys = 100_000
	for i := range keys {
		slots[hash(partition{"topic", int32(i)})%1024]++
	}
	if most := slices.Max(slots[:]); most > keys/1024*2 {
		t.Fatalf("one of 1024 slots got %d of %d keys", most, keys)
	}
}

func TestKeyWithoutHashPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("a float key was accepted")
		}
	}()
	Map[float64, int]{}.Set(1, 1)
}

// TestOrderDependsOnKeysOnly builds one content by two histories.
func TestOrderDependsOnKeysOnly(t *testing.T) {
	var up, down Map[string, int]
	for i := range 500 {
		up = up.Set(strconv.Itoa(i), i)
	}
	for i := 999; i >= 0; i-- {
		down = down.Set(strconv.Itoa(i), i)
	}
	for i := 500; i < 1000; i++ {
		down = down.Delete(strconv.Itoa(i))
	}
	if !slices.Equal(slices.Collect(up.Keys()), slices.Collect(down.Keys())) {
		t.Fatal("equal maps iterate in different orders")
	}
	if !slices.Equal(slices.Collect(up.Values()), slices.Collect(down.Values())) {
		t.Fatal("equal maps have values in different orders")
	}
}

func TestRangeStopsEarly(t *testing.T) {
	m := Collect(maps.All(map[int]int{1: 1, 2: 2, 3: 3, 40: 4, 500: 5}))
	n := 0
	for range m.All() {
		if n++; n == 2 {
			break
		}
	}
	for range m.Keys() {
		n++
		break
	}
	if n != 3 {
		t.Fatalf("went %d rounds", n)
	}
}

func TestSortedKeys(t *testing.T) {
	var m Map[int, string]
	if len(SortedKeys(m)) != 0 || m.Len() != 0 || m.Has(1) {
		t.Fatal("the zero map is not empty")
	}
	for _, k := range rand.New(rand.NewSource(1)).Perm(1000) {
		m = m.Set(k, "")
	}
	if keys := SortedKeys(m); !slices.IsSorted(keys) || len(keys) != 1000 {
		t.Fatal("keys are not sorted")
	}
	down := SortedKeysFunc(m, func(a, b int) int { return cmp.Compare(b, a) })
	if down[0] != 999 || down[999] != 0 {
		t.Fatal("keys are not in the order of compare")
	}
}

func TestSame(t *testing.T) {
	m := Map[string, int]{}.Set("a", 1)
	if !m.Same(m.Delete("b")) || m.Same(m.Set("a", 1)) {
		t.Fatal("Same must follow the version")
	}
}

func filled(n int) Map[partition, *int] {
	var b Builder[partition, *int]
	for i := range n {
		b.Set(partition{"topic-" + strconv.Itoa(i/100), int32(i % 100)}, &i)
	}
	return b.Map()
}

func TestGetAllocatesNothing(t *testing.T) {
	m := filled(1000)
	k := partition{"topic-3", 7}
	if n := testing.AllocsPerRun(100, func() { m.Get(k) }); n != 0 {
		t.Fatalf("%v allocations a Get", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		for range m.All() {
		}
	}); n > 0 {
		t.Fatalf("%v allocations a range", n)
	}
}

func BenchmarkGet100k(b *testing.B) {
	m := filled(100_000)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		m.Get(partition{"topic-77", int32(i % 100)})
		i++
	}
}

func BenchmarkSet100k(b *testing.B) {
	m := filled(100_000)
	v := new(int)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		m = m.Set(partition{"topic-77", int32(i % 200)}, v)
		i++
	}
}

func BenchmarkBuild100k(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		filled(100_000)
	}
}

func BenchmarkRange100k(b *testing.B) {
	m := filled(100_000)
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for range m.All() {
			n++
		}
	}
}

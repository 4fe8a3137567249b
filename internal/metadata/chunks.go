package metadata

import "iter"

const (
	chunkBits = 6
	chunkSize = 1 << chunkBits
	// maxPartitionIndex bounds the memory that one record with an absurd index
	// can claim: six megabytes of chunk headers.
	maxPartitionIndex = 1<<24 - 1
)

// chunks is a sparse persistent vector of partitions. A changed copy shares all
// chunks but those it changes. A chunk is as long as its last element needs.
type chunks struct {
	list  [][]*Partition
	count int
}

func (c *chunks) get(index int32) *Partition {
	i, j := int(index)>>chunkBits, int(index)&(chunkSize-1)
	if index < 0 || i >= len(c.list) || j >= len(c.list[i]) {
		return nil
	}
	return c.list[i][j]
}

func (c *chunks) all() iter.Seq2[int32, *Partition] {
	return func(yield func(int32, *Partition) bool) {
		for i, ch := range c.list {
			for j, p := range ch {
				if p != nil && !yield(int32(i<<chunkBits|j), p) {
					return
				}
			}
		}
	}
}

// chunkBuilder makes a changed copy of chunks. own says which chunks it copied
// and may write; changed holds every index that was set, in that order.
type chunkBuilder struct {
	chunks
	own     []bool
	changed []int32
}

func newChunkBuilder(base chunks) *chunkBuilder {
	list := make([][]*Partition, len(base.list))
	copy(list, base.list)
	return &chunkBuilder{chunks: chunks{list: list, count: base.count}, own: make([]bool, len(list))}
}

// set puts p at index, which must be within 0 and maxPartitionIndex.
func (b *chunkBuilder) set(index int32, p *Partition) {
	i, j := int(index)>>chunkBits, int(index)&(chunkSize-1)
	if grow := i + 1 - len(b.list); grow > 0 {
		b.list = append(b.list, make([][]*Partition, grow)...)
		b.own = append(b.own, make([]bool, grow)...)
	}
	c := b.list[i]
	if !b.own[i] {
		c = append(make([]*Partition, 0, max(len(c), j+1)), c...)
		b.own[i] = true
	}
	for j >= len(c) {
		c = append(c, nil)
	}
	if c[j] == nil {
		b.count++
	}
	c[j] = p
	b.list[i] = c
	b.changed = append(b.changed, index)
}

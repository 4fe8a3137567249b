package txn

// States counts the transactional ids by state.
func (m *Machine) States() map[State]int {
	n := map[State]int{}
	for _, t := range m.txns {
		n[t.State]++
	}
	return n
}

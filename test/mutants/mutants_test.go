package main

import "testing"

// A mutant replaces text of the code: it must move along with it.
func TestMutantsApply(t *testing.T) {
	dir := t.TempDir()
	t.Chdir("../..")
	for _, m := range mutants {
		if _, err := m.overlay(dir); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}

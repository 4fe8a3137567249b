package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
)

// anyLogDir leaves the directory of a replica to its broker.
const anyLogDir = "any"

// assignment is one partition of a reassignment with its replicas, the preferred leader
// first.
type assignment struct {
	kafka.TopicPartition
	replicas []int32
}

// partitionReplica is one replica of a partition.
type partitionReplica struct {
	kafka.TopicPartition
	broker int32
}

func (r partitionReplica) String() string { return fmt.Sprintf("%s-%d", r.TopicPartition, r.broker) }

func compareReplicas(a, b partitionReplica) int {
	return cmp.Or(cmp.Compare(a.broker, b.broker), comparePartitions(a.TopicPartition, b.TopicPartition))
}

// reassignment is what a reassignment file asks for.
type reassignment struct {
	parts []assignment                // in the order of the file
	dirs  map[partitionReplica]string // where replicas are to be, those with a choice
}

// partitions are the partitions of the file, each once, by name and index.
func (r *reassignment) partitions() []kafka.TopicPartition {
	out := make([]kafka.TopicPartition, len(r.parts))
	for i, a := range r.parts {
		out[i] = a.TopicPartition
	}
	slices.SortFunc(out, comparePartitions)
	return slices.Compact(out)
}

// topics are the topics of the file, each once, in its order.
func (r *reassignment) topics() []string {
	var out []string
	for _, a := range r.parts {
		if !slices.Contains(out, a.Topic) {
			out = append(out, a.Topic)
		}
	}
	return out
}

func parseReassignment(text []byte) (*reassignment, error) {
	root, err := parseJSON(text)
	if err != nil {
		return nil, err
	}
	fields, err := root.fields()
	if err == nil {
		err = fields.checkVersion()
	}
	if err != nil {
		return nil, err
	}
	r := &reassignment{dirs: map[partitionReplica]string{}}
	list := fields.get("partitions")
	if list == nil {
		return r, nil
	}
	items, err := list.items()
	if err != nil {
		return nil, err
	}
	for _, item := range items {
		if err := r.add(item); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// add reads one partition of the file.
func (r *reassignment) add(item jsonNode) error {
	fields, err := item.fields()
	if err != nil {
		return err
	}
	var a assignment
	if a.Topic, a.Partition, err = fields.partition(); err != nil {
		return err
	}
	n, err := fields.need("replicas")
	if err == nil {
		a.replicas, err = jsonList(n, jsonNode.integer)
	}
	if err != nil {
		return err
	}
	r.parts = append(r.parts, a)
	n = fields.get("log_dirs")
	if n == nil {
		return nil
	}
	dirs, err := jsonList(n, jsonNode.text)
	if err != nil {
		return err
	}
	if len(dirs) != len(a.replicas) {
		return fmt.Errorf("Size of replicas list %s is different from size of log dirs list [%s] for partition %s",
			javaIDs(a.replicas), strings.Join(dirs, ", "), a.TopicPartition)
	}
	for i, dir := range dirs {
		if dir != anyLogDir {
			r.dirs[partitionReplica{a.TopicPartition, a.replicas[i]}] = dir
		}
	}
	return nil
}

// javaIDs is a list of ids as Java prints it.
func javaIDs(ids []int32) string { return "[" + strings.ReplaceAll(joinIDs(ids), ",", ", ") + "]" }

// checkExecutable refuses what --execute must not be given.
func (r *reassignment) checkExecutable() error {
	if len(r.parts) == 0 {
		return errors.New("Partition reassignment list cannot be empty")
	}
	var twice, double []string
	for i, a := range r.parts {
		if len(a.replicas) == 0 {
			return errors.New("Partition replica list cannot be empty")
		}
		same := func(b assignment) bool { return b.TopicPartition == a.TopicPartition }
		if name := a.TopicPartition.String(); slices.ContainsFunc(r.parts[:i], same) && !slices.Contains(twice, name) {
			twice = append(twice, name)
		}
		if ids := repeated(a.replicas); len(ids) > 0 {
			double = append(double, fmt.Sprintf("%s contains multiple entries for %s", a.TopicPartition, joinIDs(ids)))
		}
	}
	switch {
	case len(twice) > 0:
		return fmt.Errorf("Partition reassignment contains duplicate topic partitions: %s", strings.Join(twice, ","))
	case len(double) > 0:
		return fmt.Errorf("Partition replica lists may not contain duplicate entries: %s", strings.Join(double, ". "))
	}
	return nil
}

// repeated are the elements that a list has more than once, ascending.
func repeated[E cmp.Ordered](list []E) []E {
	sorted := slices.Sorted(slices.Values(list))
	var out []E
	for i, e := range sorted {
		if i > 0 && sorted[i-1] == e {
			out = append(out, e)
		}
	}
	return slices.Compact(out)
}

// parseTopicsToMove reads the names of a file for --generate.
func parseTopicsToMove(text []byte) ([]string, error) {
	root, err := parseJSON(text)
	if err != nil {
		return nil, fmt.Errorf("The input string is not a valid JSON\n%w", err)
	}
	fields, err := root.fields()
	if err == nil {
		err = fields.checkVersion()
	}
	if err != nil {
		return nil, err
	}
	list := fields.get("topics")
	if list == nil {
		return nil, nil
	}
	items, err := list.items()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, item := range items {
		fields, err := item.fields()
		if err != nil {
			return nil, err
		}
		n, err := fields.need("topic")
		if err != nil {
			return nil, err
		}
		name, err := n.text()
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// The JSON of a reassignment; the order of the fields is that of Kafka's tool.
type (
	reassignmentFile struct {
		Version    int                  `json:"version"`
		Partitions []reassignmentFileTP `json:"partitions"`
	}
	reassignmentFileTP struct {
		Topic     string   `json:"topic"`
		Partition int32    `json:"partition"`
		Replicas  []int32  `json:"replicas"`
		LogDirs   []string `json:"log_dirs"`
	}
)

// reassignmentJSON writes partitions, by name and index, with the directories that are
// known.
func reassignmentJSON(parts []assignment, dirs map[partitionReplica]string) (string, error) {
	parts = slices.Clone(parts)
	slices.SortFunc(parts, func(a, b assignment) int { return comparePartitions(a.TopicPartition, b.TopicPartition) })
	file := reassignmentFile{Version: 1, Partitions: []reassignmentFileTP{}}
	for _, a := range parts {
		row := reassignmentFileTP{Topic: a.Topic, Partition: a.Partition, Replicas: append([]int32{}, a.replicas...), LogDirs: []string{}}
		for _, id := range a.replicas {
			dir, ok := dirs[partitionReplica{a.TopicPartition, id}]
			if !ok {
				dir = anyLogDir
			}
			row.LogDirs = append(row.LogDirs, dir)
		}
		file.Partitions = append(file.Partitions, row)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(file); err != nil {
		return "", fmt.Errorf("writing the reassignment: %w", err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

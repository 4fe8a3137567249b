package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
)

// jsonNode is a part of a JSON file that a user wrote for a tool. What it is not is said
// in the words of Kafka's tools.
type jsonNode json.RawMessage

// parseJSON checks that text is JSON.
func parseJSON(text []byte) (jsonNode, error) {
	var raw json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, fmt.Errorf("the text is not JSON: %w", err)
	}
	return jsonNode(raw), nil
}

// readText reads a file that an option names. The first line of its errors is the one
// that Kafka's tools print.
func readText(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("Unable to read file %s\n%w", path, err)
	}
	return text, nil
}

// String is the node without spaces between its parts.
func (n jsonNode) String() string {
	var b bytes.Buffer
	if json.Compact(&b, n) != nil {
		return string(n)
	}
	return b.String()
}

func (n jsonNode) expected(what string) error {
	return fmt.Errorf("Expected `%s` value, received %s", what, n)
}

// fields are the members of an object.
func (n jsonNode) fields() (jsonFields, error) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(n, &raw); err != nil || raw == nil {
		return nil, fmt.Errorf("Expected JSON object, received %s", n)
	}
	return raw, nil
}

// items are the elements of an array.
func (n jsonNode) items() ([]jsonNode, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal(n, &raw); err != nil || raw == nil {
		return nil, fmt.Errorf("Expected JSON array, received %s", n)
	}
	out := make([]jsonNode, len(raw))
	for i := range raw {
		out[i] = jsonNode(raw[i])
	}
	return out, nil
}

func (n jsonNode) text() (string, error) {
	var s *string
	if err := json.Unmarshal(n, &s); err != nil || s == nil {
		return "", n.expected("String")
	}
	return *s, nil
}

func (n jsonNode) integer() (int32, error) {
	i, err := strconv.ParseInt(n.String(), 10, 32)
	if err != nil {
		return 0, n.expected("Integer")
	}
	return int32(i), nil
}

// jsonList reads an array whose elements are all of one kind.
func jsonList[E any](n jsonNode, read func(jsonNode) (E, error)) ([]E, error) {
	items, err := n.items()
	if err != nil {
		return nil, n.expected("JSON array")
	}
	out := make([]E, len(items))
	for i, item := range items {
		if out[i], err = read(item); err != nil {
			return nil, err
		}
	}
	return out, nil
}

type jsonFields map[string]json.RawMessage

// get is a member, nil when there is none.
func (f jsonFields) get(name string) jsonNode { return jsonNode(f[name]) }

// need is a member that must be there.
func (f jsonFields) need(name string) (jsonNode, error) {
	if raw, ok := f[name]; ok {
		return jsonNode(raw), nil
	}
	return nil, fmt.Errorf("No such field exists: `%s`", name)
}

// checkVersion fails for a file of another version than 1, which it has without one.
func (f jsonFields) checkVersion() error {
	n := f.get("version")
	if n == nil {
		return nil
	}
	version, err := n.integer()
	if err == nil && version != 1 {
		err = fmt.Errorf("Not supported version field value %d", version)
	}
	return err
}

// partition reads the members "topic" and "partition".
func (f jsonFields) partition() (topic string, index int32, err error) {
	n, err := f.need("topic")
	if err == nil {
		topic, err = n.text()
	}
	if err != nil {
		return "", 0, err
	}
	if n, err = f.need("partition"); err == nil {
		index, err = n.integer()
	}
	return topic, index, err
}

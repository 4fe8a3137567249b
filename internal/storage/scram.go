package storage

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"sort"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/records"
)

// scramMechanism is one of the two mechanisms that credentials can be for.
type scramMechanism struct {
	id      int8
	newHash func() hash.Hash
	size    int
}

var scramMechanisms = map[string]scramMechanism{
	"SCRAM-SHA-256": {1, sha256.New, sha256.Size},
	"SCRAM-SHA-512": {2, sha512.New, sha512.Size},
}

// Bounds of the iteration count, and the count where none is given.
const (
	scramMinIterations     = 4096
	scramMaxIterations     = 16384
	scramDefaultIterations = 4096
)

// ParseScram reads the arguments of --add-scram, for example
// SCRAM-SHA-256=[name=alice,password=secret]. A salt that is not given is drawn
// at random.
func ParseScram(arguments []string) ([]records.Message, error) {
	var out []records.Message
	for _, a := range arguments {
		r, err := parseScramArgument(strings.TrimSpace(a))
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

func parseScramArgument(arg string) (records.Message, error) {
	name, config, ok := strings.Cut(arg, "=")
	if !ok {
		return nil, fmt.Errorf("Failed to find equals sign in SCRAM argument '%s'", arg)
	}
	mech, ok := scramMechanisms[name]
	if !ok {
		return nil, fmt.Errorf("The add-scram mechanism %s is not supported.", name)
	}
	if !strings.HasPrefix(config, "[") {
		return nil, fmt.Errorf("Expected configuration string to start with [")
	}
	if !strings.HasSuffix(config, "]") {
		return nil, fmt.Errorf("Expected configuration string to end with ]")
	}
	parts, err := splitScram(config[1 : len(config)-1])
	if err != nil {
		return nil, err
	}
	return scramRecord(name, mech, parts)
}

// splitScram reads key=value pairs; a value may stand in double quotes.
func splitScram(s string) (map[string]string, error) {
	parts := map[string]string{}
	for _, c := range strings.Split(s, ",") {
		key, value, ok := strings.Cut(c, "=")
		if !ok {
			return nil, fmt.Errorf("No equals sign found in SCRAM component: %s", c)
		}
		if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
			value = value[1 : len(value)-1]
		}
		parts[key] = value
	}
	return parts, nil
}

// take removes a key and says whether it was there.
func take(parts map[string]string, key string) (string, bool) {
	v, ok := parts[key]
	delete(parts, key)
	return v, ok
}

func scramRecord(mechName string, mech scramMechanism, parts map[string]string) (records.Message, error) {
	name, ok := take(parts, "name")
	if !ok {
		return nil, fmt.Errorf("You must supply 'name' to add-scram")
	}
	salt, haveSalt, err := scramSalt(parts)
	if err != nil {
		return nil, err
	}
	iterations := scramDefaultIterations
	if text, ok := take(parts, "iterations"); ok {
		if iterations, err = strconv.Atoi(text); err != nil {
			return nil, fmt.Errorf("Failed to parse iterations count: %s", text)
		}
	}
	password, havePassword := take(parts, "password")
	saltedText, haveSalted := take(parts, "saltedpassword")
	switch {
	case !havePassword && !haveSalted:
		return nil, fmt.Errorf("You must supply one of 'password' or 'saltedpassword' to add-scram")
	case !havePassword && !haveSalt:
		return nil, fmt.Errorf("You must supply 'salt' with 'saltedpassword' to add-scram")
	case havePassword && haveSalted:
		parts["saltedpassword"] = ""
	}
	if len(parts) > 0 {
		return nil, fmt.Errorf("Unknown SCRAM configurations: %s", strings.Join(sortedKeys(parts), ", "))
	}
	if iterations < scramMinIterations {
		return nil, fmt.Errorf("The 'iterations' value must be >= %d for add-scram using %s", scramMinIterations, scramEnumName(mechName))
	}
	if iterations > scramMaxIterations {
		return nil, fmt.Errorf("The 'iterations' value must be <= %d for add-scram using %s", scramMaxIterations, scramEnumName(mechName))
	}
	var salted []byte
	if havePassword {
		salted, err = pbkdf2.Key(mech.newHash, password, salt, iterations, mech.size)
	} else {
		salted, err = base64.StdEncoding.DecodeString(saltedText)
	}
	if err != nil {
		return nil, fmt.Errorf("Failed to derive the salted password of %s: %w", name, err)
	}
	return mech.record(name, salt, salted, iterations), nil
}

// record derives the keys that a broker verifies logins with (RFC 5802).
func (m scramMechanism) record(name string, salt, salted []byte, iterations int) records.Message {
	mac := func(text string) []byte {
		h := hmac.New(m.newHash, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := m.newHash()
	stored.Write(mac("Client Key"))
	return &records.UserScramCredentialRecord{
		Name:       name,
		Mechanism:  m.id,
		Salt:       salt,
		StoredKey:  stored.Sum(nil),
		ServerKey:  mac("Server Key"),
		Iterations: int32(iterations),
	}
}

// scramSalt is the salt that was given, or a random one.
func scramSalt(parts map[string]string) (salt []byte, given bool, err error) {
	if text, ok := take(parts, "salt"); ok {
		salt, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, false, fmt.Errorf("Failed to decode given salt: %s", text)
		}
		return salt, true, nil
	}
	salt = make([]byte, 24)
	if _, err := rand.Read(salt); err != nil {
		return nil, false, fmt.Errorf("drawing a random salt: %w", err)
	}
	return salt, false, nil
}

func scramEnumName(mechanism string) string { return strings.ReplaceAll(mechanism, "-", "_") }

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

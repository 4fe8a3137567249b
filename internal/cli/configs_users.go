package cli

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// quotaEntityNames are the entity types in the quota requests.
var quotaEntityNames = map[string]string{userType: "user", clientType: "client-id", ipType: "ip"}

var clientQuotas = []string{"producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate"}

func isQuota(key string) bool { return slices.Contains(clientQuotas, key) }

// scramMechanisms are SCRAM's mechanisms by name, with their code in the protocol
// and what makes a salted password.
var scramMechanisms = map[string]struct {
	code int8
	hash func(password string, salt []byte, iterations int) ([]byte, error)
}{
	"SCRAM-SHA-256": {1, func(p string, salt []byte, n int) ([]byte, error) {
		return pbkdf2.Key(sha256.New, p, salt, n, sha256.Size)
	}},
	"SCRAM-SHA-512": {2, func(p string, salt []byte, n int) ([]byte, error) {
		return pbkdf2.Key(sha512.New, p, salt, n, sha512.Size)
	}},
}

// Kafka takes from minScramIterations to maxScramIterations.
const minScramIterations, defaultScramIterations, maxScramIterations = 4096, 4096, 16384

func isScram(key string) bool { _, ok := scramMechanisms[key]; return ok }

// alterUserOrClient changes quotas of users, clients or both, or the credentials of
// one user.
func alterUserOrClient(ctx context.Context, c *cluster, e *entities, change *configChange) error {
	set := slices.Sorted(maps.Keys(change.set))
	unknown := func(keys []string, scramToo bool) []string {
		var found []string
		for _, k := range keys {
			if !isQuota(k) && (!isScram(k) || !scramToo) {
				found = append(found, k)
			}
		}
		return found
	}
	usersOnly := e.types[0] == userType && len(e.types) == 1
	kinds, target := "quota", clientType
	if usersOnly {
		kinds, target = "quota and SCRAM credential", userType
	}
	if bad := unknown(set, usersOnly); len(bad) > 0 {
		return illegalf("Only %s configs can be added for '%s' using --bootstrap-server. Unexpected config names: Set(%s)", kinds, target, strings.Join(bad, ", "))
	}
	if bad := unknown(change.delete, usersOnly); len(bad) > 0 {
		return illegalf("Only %s configs can be deleted for '%s' using --bootstrap-server. Unexpected config names: ArrayBuffer(%s)", kinds, target, strings.Join(bad, ", "))
	}
	all := append(slices.Clone(set), change.delete...)
	quotas := slices.ContainsFunc(all, isQuota)
	if slices.ContainsFunc(all, isScram) {
		if e.isDefault() {
			return illegalf("The use of --entity-default or --user-defaults is not allowed with User SCRAM Credentials using --bootstrap-server.")
		}
		if quotas {
			return illegalf("Cannot alter both quota and SCRAM credential configs simultaneously for '%s' using --bootstrap-server.", userType)
		}
	}
	if quotas {
		return alterQuotas(ctx, c, e, change)
	}
	return alterScram(ctx, c, e.names[0], change)
}

// quotaFilter asks for exactly the given entities.
func quotaFilter(e *entities) (*kmsg.DescribeClientQuotasRequest, error) {
	req := kmsg.NewPtrDescribeClientQuotasRequest()
	req.Strict = true
	if len(e.names) > len(e.types) {
		return nil, illegalf("More entity names specified than entity types")
	}
	for i, t := range e.types {
		part := kmsg.NewDescribeClientQuotasRequestComponent()
		part.EntityType, part.MatchType = quotaEntityNames[t], kmsg.QuotasMatchTypeAny
		if i < len(e.names) {
			part.MatchType = kmsg.QuotasMatchTypeDefault
			if e.names[i] != "" {
				part.MatchType, part.Match = kmsg.QuotasMatchTypeExact, kmsg.StringPtr(e.names[i])
			}
		}
		req.Components = append(req.Components, part)
	}
	return req, nil
}

func fetchQuotas(ctx context.Context, c *cluster, e *entities) ([]kmsg.DescribeClientQuotasResponseEntry, error) {
	req, err := quotaFilter(e)
	if err != nil {
		return nil, err
	}
	resp, err := req.RequestWith(ctx, c)
	if err != nil {
		return nil, err
	}
	return resp.Entries, withMessage(resp.ErrorCode, resp.ErrorMessage)
}

func alterQuotas(ctx context.Context, c *cluster, e *entities, change *configChange) error {
	old, err := fetchQuotas(ctx, c, e)
	if err != nil {
		return err
	}
	has := func(key string) bool {
		return len(old) > 0 && slices.ContainsFunc(old[0].Values, func(v kmsg.DescribeClientQuotasResponseEntryValue) bool { return v.Key == key })
	}
	if missing := slices.DeleteFunc(slices.Clone(change.delete), has); len(missing) > 0 {
		return illegalf("Invalid config(s): %s", strings.Join(missing, ","))
	}
	entry := kmsg.NewAlterClientQuotasRequestEntry()
	for i, t := range e.types {
		part := kmsg.NewAlterClientQuotasRequestEntryEntity()
		part.Type = quotaEntityNames[t]
		if e.names[i] != "" {
			part.Name = kmsg.StringPtr(e.names[i])
		}
		entry.Entity = append(entry.Entity, part)
	}
	for _, key := range slices.Sorted(maps.Keys(change.set)) {
		op := kmsg.NewAlterClientQuotasRequestEntryOp()
		if op.Value, err = strconv.ParseFloat(strings.TrimSpace(change.set[key]), 64); err != nil {
			return illegalf("Cannot parse quota configuration value for %s: %s", key, change.set[key])
		}
		op.Key = key
		entry.Ops = append(entry.Ops, op)
	}
	for _, key := range change.delete {
		op := kmsg.NewAlterClientQuotasRequestEntryOp()
		op.Key, op.Remove = key, true
		entry.Ops = append(entry.Ops, op)
	}
	req := kmsg.NewPtrAlterClientQuotasRequest()
	req.Entries = append(req.Entries, entry)
	resp, err := req.RequestWith(ctx, c)
	if err != nil {
		return err
	}
	for _, r := range resp.Entries {
		if err := withMessage(r.ErrorCode, r.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}

func describeQuotas(ctx context.Context, env *Env, c *cluster, e *entities) error {
	entries, err := fetchQuotas(ctx, c, e)
	if err != nil {
		return err
	}
	titles := [][2]string{{"user", "user-principal"}, {"client-id", "client-id"}, {"ip", "ip"}}
	var lines []string
	for _, entry := range entries {
		var who, what []string
		for _, t := range titles {
			for _, part := range entry.Entity {
				switch {
				case part.Type != t[0]:
				case part.Name == nil:
					who = append(who, "the default "+t[1])
				default:
					who = append(who, fmt.Sprintf("%s '%s'", t[1], *part.Name))
				}
			}
		}
		for _, v := range entry.Values {
			what = append(what, v.Key+"="+javaFloat(v.Value, 64))
		}
		slices.Sort(what)
		lines = append(lines, fmt.Sprintf("Quota configs for %s are %s\n", strings.Join(who, ", "), strings.Join(what, ", ")))
	}
	slices.Sort(lines)
	fmt.Fprint(env.Out, strings.Join(lines, ""))
	return nil
}

var scramValue = regexp.MustCompile(`^(?:iterations=(-?[0-9]*),)?password=(.*)$`)

// parseScram reads "iterations=N,password=P", the first part of which may be absent.
func parseScram(mechanism, text string) (iterations int, password string, err error) {
	m := scramValue.FindStringSubmatch(text)
	if m == nil {
		return 0, "", illegalf("Invalid credential property %s=%s", strings.ReplaceAll(mechanism, "-", "_"), text)
	}
	iterations = defaultScramIterations
	if m[1] != "" && m[1] != "-1" {
		if iterations, err = strconv.Atoi(m[1]); err != nil {
			return 0, "", illegalf("For input string: \"%s\"", m[1])
		}
	}
	if iterations < minScramIterations {
		return 0, "", illegalf("Iterations %d is less than the minimum %d required for %s", iterations, minScramIterations, mechanism)
	}
	return iterations, m[2], nil
}

func alterScram(ctx context.Context, c *cluster, user string, change *configChange) error {
	req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	for _, key := range change.delete {
		d := kmsg.NewAlterUserSCRAMCredentialsRequestDeletion()
		d.Name, d.Mechanism = user, scramMechanisms[key].code
		req.Deletions = append(req.Deletions, d)
	}
	for _, key := range slices.Sorted(maps.Keys(change.set)) {
		u := kmsg.NewAlterUserSCRAMCredentialsRequestUpsertion()
		iterations, password, err := parseScram(key, change.set[key])
		if err != nil {
			return err
		}
		u.Name, u.Mechanism, u.Iterations, u.Salt = user, scramMechanisms[key].code, int32(iterations), make([]byte, 24)
		rand.Read(u.Salt)
		// This is the broker's own answer, without working through them first.
		if iterations > maxScramIterations {
			return messageOr(kerr.UnacceptableCredential, "Too many iterations")
		}
		if u.SaltedPassword, err = scramMechanisms[key].hash(password, u.Salt, iterations); err != nil {
			return fmt.Errorf("salting the password of %s: %w", user, err)
		}
		req.Upsertions = append(req.Upsertions, u)
	}
	resp, err := req.RequestWith(ctx, c)
	if err != nil {
		return err
	}
	for _, r := range resp.Results {
		if err := withMessage(r.ErrorCode, r.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}

// describeScram prints which credentials users have, all users without a name.
func describeScram(ctx context.Context, env *Env, c *cluster, users []string) error {
	req := kmsg.NewPtrDescribeUserSCRAMCredentialsRequest()
	for _, name := range users {
		u := kmsg.NewDescribeUserSCRAMCredentialsRequestUser()
		u.Name = name
		req.Users = append(req.Users, u)
	}
	resp, err := req.RequestWith(ctx, c)
	if err != nil {
		return err
	}
	if err := withMessage(resp.ErrorCode, resp.ErrorMessage); err != nil {
		return err
	}
	for _, r := range resp.Results {
		if err := withMessage(r.ErrorCode, r.ErrorMessage); errors.Is(err, kerr.ResourceNotFound) {
			continue
		} else if err != nil {
			_, class, _ := strings.Cut(exceptionName(r.ErrorCode), "errors.")
			fmt.Fprintf(env.Out, "Error retrieving SCRAM credential configs for user-principal '%s': %s: %v\n", r.User, class, err)
			continue
		}
		var infos []string
		for _, i := range r.CredentialInfos {
			name := "UNKNOWN"
			for n, m := range scramMechanisms {
				if m.code == i.Mechanism {
					name = n
				}
			}
			infos = append(infos, fmt.Sprintf("%s=iterations=%d", name, i.Iterations))
		}
		fmt.Fprintf(env.Out, "SCRAM credential configs for user-principal '%s' are %s\n", r.User, strings.Join(infos, ", "))
	}
	return nil
}

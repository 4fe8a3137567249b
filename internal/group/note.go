package group

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/gregorhq/gregor/internal/coord"
)

// maxNote is the longest line that a note makes: clients choose ids and reasons.
const maxNote = 1000

// note tells operators what becomes of a group, in the words of Apache Kafka's
// GroupMetadataManager, by which people and their tools search.
func note(out *coord.Outcome, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if len(text) > maxNote {
		text = strings.ToValidUTF8(text[:maxNote], "") + "..."
	}
	if strings.ContainsFunc(text, unicode.IsControl) {
		text = strconv.Quote(text) // one line, whatever a client calls itself
	}
	out.Notes = append(out.Notes, text)
}

// orNull spells an instance id as Java does.
func orNull(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

// because is the reason that a client gives for a join or for leaving (KIP-800).
func because(reason *string) string {
	if reason == nil || *reason == "" {
		return "client reason: not provided"
	}
	return "client reason: " + *reason
}

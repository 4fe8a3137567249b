// Command gen writes the record structs and codecs of package records from a
// schema file in the notation that schema/metadata.txt explains.
package main

import (
	"flag"
	"fmt"
	"go/format"
	"os"
)

func main() {
	schema := flag.String("schema", "", "schema file to read")
	out := flag.String("out", "", "Go file to write")
	registry := flag.String("registry", "", "name of the generated function from key to new message")
	flag.Parse()
	if err := run(*schema, *out, *registry); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(schema, out, registry string) error {
	text, err := os.ReadFile(schema)
	if err != nil {
		return err
	}
	messages, err := parse(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", schema, err)
	}
	src := generate(schema, registry, messages)
	formatted, err := format.Source(src)
	if err != nil {
		return fmt.Errorf("generated code of %s: %w\n%s", schema, err, src)
	}
	return os.WriteFile(out, formatted, 0o644)
}

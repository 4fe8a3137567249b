package house

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/gregorhq/gregor/internal/cli"
	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

var doctorTable = opt.Table{Options: []opt.Option{
	{Name: "quick", Doc: "Read only the end of each partition instead of every batch."},
	{Name: "json", Doc: "Print one JSON object instead of lines."},
	{Name: "verbose", Doc: "Print what is in order too."},
	{Name: "help", Doc: "Print usage information."},
}}

const doctorUsage = "usage: gregor doctor DIR... [--quick] [--verbose] [--json]\n\nChecks data directories that no broker uses, those of Apache Kafka too, changes nothing,\nand says what a broker would do about what it finds. The exit code is 1 if anything failed.\n"

// diagnosis is what a directory's checks found, as --json prints it.
type diagnosis struct {
	Directory string        `json:"directory"`
	Passed    int           `json:"passed"`
	Warned    int           `json:"warned"`
	Failed    int           `json:"failed"`
	Checks    []doctorCheck `json:"checks"`
}

type doctorCheck struct {
	Verdict string `json:"verdict"`
	Check   string `json:"check"`
	Subject string `json:"subject"`
	Detail  string `json:"detail"`
	Action  string `json:"action,omitempty"`
}

// doctor is gregor doctor.
func doctor(ctx context.Context, env *cli.Env) int {
	v, err := doctorTable.Parse(env.Args)
	if err == nil && v.Has("help") {
		fmt.Fprint(env.Out, doctorUsage, "\n", doctorTable.Help())
		return 0
	}
	if err == nil && len(v.Rest) == 0 {
		err = errors.New("no directory is named")
	}
	if err != nil {
		fmt.Fprintf(env.Err, "%v\n%s", err, doctorUsage)
		return 1
	}
	code := 0
	var all []diagnosis
	for _, dir := range v.Rest {
		e := examination{env: env, fs: vfs.OS(), quiet: v.Has("json"), verbose: v.Has("verbose")}
		e.d.Directory, e.d.Checks = dir, []doctorCheck{}
		if err := e.directory(ctx, dir, v.Has("quick")); err != nil {
			fmt.Fprintln(env.Err, err)
			return 1
		}
		if e.d.Failed > 0 {
			code = 1
		}
		all = append(all, e.d)
	}
	if v.Has("json") {
		enc := json.NewEncoder(env.Out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(map[string]any{"directories": all}); err != nil {
			fmt.Fprintln(env.Err, err)
			return 1
		}
	}
	return code
}

// examination checks one directory.
type examination struct {
	env            *cli.Env
	fs             vfs.FS
	quiet, verbose bool
	d              diagnosis
	percent        int
	drawn          bool
}

func (e *examination) directory(ctx context.Context, dir string, quick bool) error {
	o := log.InspectOptions{Quick: quick, Each: e.found}
	if e.env.Terminal && !e.quiet {
		o.Progress = e.progress
	}
	if !e.quiet {
		fmt.Fprintf(e.env.Out, "%s\n", dir)
	}
	err := log.Inspect(ctx, e.fs, dir, o)
	if err == nil {
		err = e.quorum(filepath.Join(dir, storage.MetadataLogDirName))
	}
	e.clearProgress()
	if err != nil {
		return err
	}
	if !e.quiet {
		fmt.Fprintf(e.env.Out, "%d passed, %d warnings, %d failed\n", e.d.Passed, e.d.Warned, e.d.Failed)
	}
	return nil
}

func (e *examination) found(f log.Finding) {
	switch f.Verdict {
	case log.Pass:
		e.d.Passed++
	case log.Warn:
		e.d.Warned++
	default:
		e.d.Failed++
	}
	if e.quiet {
		e.d.Checks = append(e.d.Checks, doctorCheck{f.Verdict.String(), f.Check, f.Subject, f.Detail, f.Action})
		return
	}
	if f.Verdict == log.Pass && !e.verbose {
		return
	}
	e.clearProgress()
	writeFinding(e.env.Out, f)
}

func writeFinding(w io.Writer, f log.Finding) {
	subject := f.Subject
	if subject == "" {
		subject = "."
	}
	fmt.Fprintf(w, "  %s  %s %s: %s\n", f.Verdict, f.Check, strings.TrimSuffix(subject, "/"), f.Detail)
	if f.Action != "" {
		fmt.Fprintf(w, "        %s\n", f.Action)
	}
}

// progress draws how far it is, once a percent.
func (e *examination) progress(done, total int64) {
	if total <= 0 {
		return
	}
	p := int(100 * done / total)
	if p == e.percent && e.drawn {
		return
	}
	e.percent, e.drawn = p, true
	fmt.Fprintf(e.env.Out, "\r%3d %% of %d MB", p, total>>20)
}

func (e *examination) clearProgress() {
	if e.drawn {
		fmt.Fprint(e.env.Out, "\r\x1b[K")
		e.drawn = false
	}
}

// quorum checks what the metadata log's folder holds besides the log.
func (e *examination) quorum(dir string) error {
	if exists, err := vfs.Exists(e.fs, dir); err != nil || !exists {
		return err
	}
	say := func(v log.Verdict, subject, detail, action string) {
		e.found(log.Finding{Verdict: v, Check: "quorum", Subject: filepath.Join(storage.MetadataLogDirName, subject), Detail: detail, Action: action})
	}
	there, err := vfs.Exists(e.fs, filepath.Join(dir, "quorum-state"))
	if err != nil {
		return err
	}
	s, err := quorum.ReadElectionState(e.fs, dir)
	switch {
	case !there:
		say(log.Warn, "quorum-state", "the file is missing", "A broker does without; a controller that has voted before must not be started without it.")
	case err != nil:
		say(log.Fail, "quorum-state", err.Error(), "A controller does not start; it could vote twice in one epoch.")
	default:
		say(log.Pass, "quorum-state", fmt.Sprintf("leader epoch %d, leader %d, voted for %d", s.LeaderEpoch, s.Leader, s.VotedID), "")
	}
	ids, err := storage.ListSnapshots(e.fs, dir)
	if err != nil {
		say(log.Fail, "", err.Error(), "The node does not start.")
		return nil
	}
	for _, id := range ids {
		r, err := storage.OpenSnapshot(e.fs, dir, id)
		if err == nil {
			_, err = r.ReadAll()
			err = errors.Join(err, r.Close())
		}
		if err != nil {
			say(log.Fail, id.FileName(), err.Error(), "The node does not start from it; with an older snapshot and the whole log behind it, remove the file.")
			continue
		}
		say(log.Pass, id.FileName(), "whole", "")
	}
	return nil
}

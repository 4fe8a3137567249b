package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

var addController = opt.Command{Name: "add-controller", Doc: "Make a controller a voter of the quorum.", Table: opt.Table{Options: []opt.Option{
	{Name: "dry-run", Doc: "Print what would be done and do nothing."},
}}}

var removeController = opt.Command{Name: "remove-controller", Doc: "Take a controller's vote away.", Table: opt.Table{Options: []opt.Option{
	{Name: "controller-id", Kind: opt.Value, Arg: "id", Required: true, Doc: "The controller's node id."},
	{Name: "controller-directory-id", Kind: opt.Value, Arg: "directory", Required: true, Doc: "The id of the controller's metadata directory."},
	{Name: "dry-run", Doc: "Print what would be done and do nothing."},
}}}

// quorumAdmin connects to the cluster of a command line.
func quorumAdmin(p *opt.Chosen) (*cluster, error) {
	c, err := admin(p.Global.Get("bootstrap-server"), p.Global.Get("bootstrap-controller"), p.Global.Get("command-config"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("Properties file %s does not exists!", p.Global.Get("command-config"))
	}
	return c, err
}

// change sends a request that the active controller has to answer; brokers pass it on.
// A controller that does not lead any more says so, as one does that is to be removed
// itself; then the next one is asked, as by Kafka's clients.
func (c *cluster) change(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	if c.quorum == nil {
		return c.Request(ctx, req)
	}
	for {
		resp, err := c.askActive(ctx, req)
		if err != nil || !leadsNot(resp) {
			return resp, err
		}
		select {
		case <-ctx.Done():
			return resp, nil
		case <-time.After(leaderPause):
		}
	}
}

// leaderPause is the time between two questions for the active controller.
const leaderPause = 100 * time.Millisecond

// leadsNot says whether a change of the voters was answered by a node that does not lead.
func leadsNot(resp kmsg.Response) bool {
	code := int16(0)
	switch r := resp.(type) {
	case *kmsg.AddRaftVoterResponse:
		code = r.ErrorCode
	case *kmsg.RemoveRaftVoterResponse:
		code = r.ErrorCode
	}
	return code == kafka.NotController.Num() || code == kafka.NotLeaderOrFollower.Num()
}

// addVoter is add-controller: the file of --command-config is the new voter's own.
func addVoter(ctx context.Context, env *Env, p *opt.Chosen) error {
	file := p.Global.Get("command-config")
	if file == "" {
		return errors.New("You must supply the configuration file of the controller you are adding when using add-controller.")
	}
	c, err := quorumAdmin(p)
	if err != nil {
		return err
	}
	defer c.Close()
	props, err := readProperties(file)
	if err != nil {
		return err
	}
	req, err := voterOf(props)
	if err != nil {
		return err
	}
	what := "DRY RUN of adding"
	if !p.Values.Has("dry-run") {
		what = "Added"
		ctx, cancel := within(ctx)
		defer cancel()
		req.TimeoutMillis = int32(requestTimeout.Milliseconds())
		resp, err := c.change(ctx, req)
		if err != nil {
			return err
		}
		r := resp.(*kmsg.AddRaftVoterResponse)
		if err := withMessage(r.ErrorCode, r.ErrorMessage); err != nil {
			return err
		}
	}
	var endpoints []string
	for _, l := range req.Listeners {
		endpoints = append(endpoints, l.Name+"://"+net.JoinHostPort(l.Host, strconv.Itoa(int(l.Port))))
	}
	fmt.Fprintf(env.Out, "%s controller %d with directory id %s and endpoints: %s\n", what, req.VoterID, kafka.UUID(req.VoterDirectoryID), strings.Join(endpoints, ", "))
	return nil
}

// voterOf reads id, directory and listeners of a controller from its properties.
func voterOf(props map[string]string) (*kmsg.AddRaftVoterRequest, error) {
	const hint = "configuration file. Is this a valid controller configuration file?"
	req := kmsg.NewPtrAddRaftVoterRequest()
	text, ok := props["node.id"]
	if !ok {
		return nil, fmt.Errorf("node.id not found in %s", hint)
	}
	id, err := strconv.ParseInt(strings.TrimSpace(text), 10, 32)
	switch {
	case err != nil:
		return nil, fmt.Errorf("For input string: %q", text)
	case id < 0:
		return nil, fmt.Errorf("node.id was negative in %s", hint)
	case !strings.Contains(props["process.roles"], "controller"):
		return nil, fmt.Errorf("process.roles did not contain 'controller' in %s", hint)
	}
	req.VoterID = int32(id)
	dir, ok := props["metadata.log.dir"]
	if !ok {
		dirs, ok := props["log.dirs"]
		if !ok {
			return nil, errors.New("Neither metadata.log.dir nor log.dirs were found. Is this a valid controller configuration file?")
		}
		dir, _, _ = strings.Cut(strings.TrimSpace(dirs), ",")
	}
	meta, err := storage.ReadMetaProperties(vfs.OS(), dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("Unable to read meta.properties from %s", dir)
	case err != nil:
		return nil, err
	case meta.DirectoryID.IsZero():
		return nil, fmt.Errorf("No directory id found in %s", dir)
	}
	req.VoterDirectoryID = meta.DirectoryID
	req.Listeners, err = controllerListeners(props)
	return req, err
}

// controllerListeners are the advertised controller listeners of a node's properties.
func controllerListeners(props map[string]string) ([]kmsg.AddRaftVoterRequestListener, error) {
	at := map[string]kmsg.AddRaftVoterRequestListener{}
	for _, key := range []string{"listeners", "advertised.listeners"} {
		for item := range strings.SplitSeq(props[key], ",") {
			if item = strings.TrimSpace(item); item == "" {
				continue
			}
			name, addr, ok := strings.Cut(item, "://")
			host, port, err := net.SplitHostPort(addr)
			n, perr := strconv.ParseUint(port, 10, 16)
			if !ok || err != nil || perr != nil {
				return nil, fmt.Errorf("Unable to parse %s to a broker endpoint", item)
			}
			if host == "" {
				host = "localhost"
			}
			l := kmsg.NewAddRaftVoterRequestListener()
			l.Name, l.Host, l.Port = strings.ToUpper(name), host, uint16(n)
			at[l.Name] = l
		}
	}
	names, ok := props["controller.listener.names"]
	if !ok {
		return nil, errors.New("controller.listener.names was not found. Is this a valid controller configuration file?")
	}
	var out []kmsg.AddRaftVoterRequestListener
	for name := range strings.SplitSeq(names, ",") {
		name = strings.ToUpper(strings.TrimSpace(name))
		l, ok := at[name]
		if !ok {
			return nil, fmt.Errorf("Cannot find information about controller listener name: %s", name)
		}
		out = append(out, l)
	}
	return out, nil
}

// removeVoter is remove-controller.
func removeVoter(ctx context.Context, env *Env, p *opt.Chosen) error {
	id, err := strconv.ParseInt(p.Values.Get("controller-id"), 10, 32)
	if err != nil {
		return fmt.Errorf("could not convert '%s' to Integer", p.Values.Get("controller-id"))
	}
	if id < 0 {
		return fmt.Errorf("Invalid negative --controller-id: %d", id)
	}
	dir, err := kafka.ParseUUID(p.Values.Get("controller-directory-id"))
	if err != nil {
		return fmt.Errorf("Failed to parse --controller-directory-id: %w", err)
	}
	c, err := quorumAdmin(p)
	if err != nil {
		return err
	}
	defer c.Close()
	what := "DRY RUN of removing "
	if !p.Values.Has("dry-run") {
		what = "Removed "
		req := kmsg.NewPtrRemoveRaftVoterRequest()
		req.VoterID, req.VoterDirectoryID = int32(id), dir
		ctx, cancel := within(ctx)
		defer cancel()
		resp, err := c.change(ctx, req)
		if err != nil {
			return err
		}
		r := resp.(*kmsg.RemoveRaftVoterResponse)
		if err := withMessage(r.ErrorCode, r.ErrorMessage); err != nil {
			return err
		}
	}
	fmt.Fprintf(env.Out, "%s KRaft controller %d with directory id %s\n", what, id, dir)
	return nil
}

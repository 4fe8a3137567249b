package cli

import (
	"fmt"
	"slices"
	"strconv"
)

// memberWidths are the columns of --describe --members that grow with what is in
// them.
type memberWidths struct {
	group, id, instance, host, client, current, target int
}

func (t *groupTool) printMembers(g *describedGroup) error {
	show, err := t.announce(g, len(g.members))
	if err != nil {
		return err
	}
	w := memberWidths{group: 15, id: 15, instance: 17, host: 15, client: 15, current: 20, target: 20}
	static, upgrading := false, false
	if show {
		w.group = max(w.group, len(g.id))
		for _, m := range g.members {
			w.id, w.instance = max(w.id, len(m.id)), max(w.instance, len(m.instance))
			w.host, w.client = max(w.host, len(m.host)), max(w.client, len(m.client))
			w.current, w.target = max(w.current, len(assignmentText(m.assigned))), max(w.target, len(assignmentText(m.target)))
			static = static || m.instance != ""
		}
		has := func(kind int8) bool {
			return slices.ContainsFunc(g.members, func(m groupMember) bool { return m.kind == kind })
		}
		// Only a group in which both protocols meet shows who has been upgraded.
		upgrading = has(0) && slices.ContainsFunc(g.members, func(m groupMember) bool { return m.kind == 1 })
	}
	line := func(group, id, instance, host, client, count, epoch, current, targetEpoch, target, upgraded string) {
		fmt.Fprintf(t.env.Out, "%-*s %-*s ", w.group, group, w.id, id)
		if static {
			fmt.Fprintf(t.env.Out, "%-*s ", w.instance, instance)
		}
		fmt.Fprintf(t.env.Out, "%-*s %-*s %-15s ", w.host, host, w.client, client, count)
		if t.v.Has("verbose") {
			fmt.Fprintf(t.env.Out, "%-15s %-*s %-15s %-*s", epoch, w.current, current, targetEpoch, w.target, target)
			if upgrading {
				fmt.Fprint(t.env.Out, " ", upgraded)
			}
		}
		fmt.Fprintln(t.env.Out)
	}
	fmt.Fprintln(t.env.Out)
	line("GROUP", "CONSUMER-ID", "GROUP-INSTANCE-ID", "HOST", "CLIENT-ID", "#PARTITIONS",
		"CURRENT-EPOCH", "CURRENT-ASSIGNMENT", "TARGET-EPOCH", "TARGET-ASSIGNMENT", "UPGRADED")
	for _, m := range g.members {
		epoch, targetEpoch, upgraded := absent, absent, absent
		if g.consumer {
			epoch, targetEpoch = strconv.Itoa(int(m.epoch)), strconv.Itoa(int(g.assignmentEpoch))
		}
		if m.kind >= 0 {
			upgraded = strconv.FormatBool(m.kind == 1)
		}
		line(g.id, m.id, m.instance, m.host, m.client, strconv.Itoa(len(m.assigned)), epoch, assignmentText(m.assigned), targetEpoch, assignmentText(m.target), upgraded)
	}
	return nil
}

package node

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/log4j"
)

// Roles of process.roles.
const (
	roleBroker     = "broker"
	roleController = "controller"
)

// is says whether the node has a role.
func (n *Node) is(role string) bool { return slices.Contains(n.static.ProcessRoles, role) }

// checkRoles refuses configurations that this process cannot serve.
func (n *Node) checkRoles() error {
	if len(n.static.ProcessRoles) == 0 && n.static.ZookeeperConnect != "" {
		return errors.New("zookeeper.connect is set: metadata in ZooKeeper is not available in this build, set process.roles")
	}
	for _, name := range n.static.ControllerListenerNames {
		// A broker has no such listener itself: nothing else would notice.
		if p, ok := n.static.ListenerSecurityProtocolMap[strings.ToUpper(name)]; ok && p != config.Plaintext {
			return fmt.Errorf("the controllers' listener %s has security protocol %s, and this build would speak PLAINTEXT to it: set listener.security.protocol.map to %s:PLAINTEXT on all nodes and keep that network closed to others", name, p, name)
		}
	}
	if a := n.static.AuthorizerClassName; a != "" {
		return fmt.Errorf("authorizer.class.name is %s, but this build has no authorizer and would let everybody do everything: remove the key and keep the listeners where only trusted clients reach them", a)
	}
	return nil
}

// roleLog is where a role tells of its start and end.
func (n *Node) roleLog(role string) *slog.Logger {
	name := map[string]string{roleBroker: "BrokerServer", roleController: "ControllerServer"}[role]
	return log4j.Named(n.log, "kafka.server."+name, fmt.Sprintf("%s id=%d", name, n.static.NodeID))
}

// logStarting, and what follows, tell of a node's start and end role by role, in the
// order in which they come and go.
func (n *Node) logStarting() {
	if n.is(roleController) {
		n.roleLog(roleController).Info("Starting controller")
	}
	if n.is(roleBroker) {
		l := n.roleLog(roleBroker)
		l.Info("Transition from SHUTDOWN to STARTING")
		l.Info("Starting broker")
	}
}

func (n *Node) logStarted() {
	if n.is(roleBroker) {
		n.roleLog(roleBroker).Info("Transition from STARTING to STARTED")
	}
	log4j.Named(n.log, "kafka.server.KafkaRaftServer", fmt.Sprintf("KafkaRaftServer nodeId=%d", n.static.NodeID)).Info("Kafka Server started")
	if n.is(roleBroker) {
		log4j.Named(n.log, "kafka.server.KafkaServer", fmt.Sprintf("KafkaServer id=%d", n.static.NodeID)).Info("started")
	}
}

func (n *Node) logStopping() {
	if n.is(roleBroker) {
		l := n.roleLog(roleBroker)
		l.Info("Transition from STARTED to SHUTTING_DOWN")
		l.Info("shutting down")
	}
	if n.is(roleController) {
		n.roleLog(roleController).Info("shutting down")
	}
}

func (n *Node) logStopped() {
	if n.is(roleBroker) {
		l := n.roleLog(roleBroker)
		l.Info("shut down completed")
		l.Info("Transition from SHUTTING_DOWN to SHUTDOWN")
	}
	n.log.Info("shut down completed")
}

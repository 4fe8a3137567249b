package controller

import (
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// registerController decides ControllerRegistration (KIP-919).
func (d *decision) registerController(req *kmsg.ControllerRegistrationRequest, resp *kmsg.ControllerRegistrationResponse) Result {
	if !d.version.ControllerRegistrationSupported() {
		return Result{Reply: fail(req, resp, kafka.UnsupportedVersion.Errorf("The current MetadataVersion is too old to support controller registrations."))}
	}
	r := records.NewRegisterControllerRecord()
	r.ControllerID, r.IncarnationID = req.ControllerID, req.IncarnationID
	for i := range req.Listeners {
		l := &req.Listeners[i]
		r.EndPoints = append(r.EndPoints, records.ControllerEndpoint{Name: l.Name, Host: l.Host, Port: l.Port, SecurityProtocol: l.SecurityProtocol})
	}
	for i := range req.Features {
		f := &req.Features[i]
		r.Features = append(r.Features, records.ControllerFeature{Name: f.Name, MinSupportedVersion: f.MinSupportedVersion, MaxSupportedVersion: f.MaxSupportedVersion})
	}
	d.add(r)
	return d.result(resp, true)
}

// unregisterController decides UnregisterController (KIP-1312).
func (d *decision) unregisterController(req *kmsg.UnregisterControllerRequest, resp *kmsg.UnregisterControllerResponse) Result {
	if !d.version.ControllerUnregistrationSupported() {
		return Result{Reply: fail(req, resp, kafka.UnsupportedVersion.Errorf("The current MetadataVersion is too old to support controller unregistration."))}
	}
	if d.img.Controller(req.ControllerID) == nil {
		return Result{Reply: fail(req, resp, kafka.ControllerIDNotRegistered.Errorf("Controller ID %d is not currently registered.", req.ControllerID))}
	}
	r := records.NewUnregisterControllerRecord()
	r.ControllerID = req.ControllerID
	d.add(r)
	return d.result(resp, true)
}

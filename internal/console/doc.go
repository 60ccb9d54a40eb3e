// Package console serves pages for the operators of a pipeline: how it stands, its customers, one
// customer's access with the reasons, the log of events, the plans, the doctor's findings, and the
// customers whose syncs fail.
//
// It says what the commands say: the verdicts and most sentences are those of internal/stories,
// internal/tell and internal/audit. A page is a file with its data, and a template of the same name
// under templates; [pages] lists all of them. Pages work without JavaScript; htmx keeps them current.
//
// Reading is GET and changes nothing. An act that changes something, or makes NATS work, is POST and is
// refused from other origins: reading a customer again, redriving parked ones, an examination by the
// doctor.
package console

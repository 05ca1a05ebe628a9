package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"github.com/entrainsync/entrain"
	"strings"
)

// insecure is the stop of a connection that could not be made secure; nil if the
// error is another one.
func (s *server) insecure(err error) error {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var header tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.As(err, &authority):
		return s.stopTLS(err, "the certificate of the brokers is signed by nobody whom we trust",
			"set tls.ca_file in FILE to the certificate (PEM) of who signed it; entrain run FILE")
	case errors.As(err, &host):
		return s.stopTLS(err, "the certificate of the brokers is for another name than that which we dial",
			"name the brokers in FILE as their certificate does, or set tls.server_name to a name in it; entrain run FILE")
	case errors.As(err, &invalid):
		return s.stopTLS(err, "the certificate of the brokers is not valid", "give the brokers a valid certificate; entrain run FILE")
	case errors.As(err, &header):
		return s.stopTLS(err, "the port does not speak TLS, and tls is in FILE", "take tls out of FILE, or name the port for TLS; entrain run FILE")
	case errors.As(err, &alert) || s.tls != nil && strings.Contains(err.Error(), "remote error: tls: "):
		return s.stopTLS(err, "the brokers refuse our certificate, or want one that tls in FILE does not give",
			"set tls.cert_file and tls.key_file in FILE to a certificate that the brokers trust, and its key; entrain run FILE")
	case s.tls == nil && strings.Contains(err.Error(), "tls alert record"): // franz-go has no type for it
		return s.stopTLS(err, "the port speaks TLS, and there is no tls in FILE",
			"set tls: {} in FILE, or name the port without TLS; entrain run FILE")
	}
	return nil
}

func (s *server) stopTLS(err error, why, next string) error {
	return &entrain.Stop{
		Code: "kafka_tls",
		What: fmt.Sprintf("no secure connection to the brokers %s", strings.Join(s.brokers, ",")),
		Why:  why,
		Next: next,
		Err:  err,
	}
}

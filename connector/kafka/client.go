package kafka

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

const (
	// patience is how long the brokers may take to answer or to be back before a
	// session is given up: the engine then begins another one.
	patience = 30 * time.Second
	// closing bounds what Close does at the brokers.
	closing = 5 * time.Second
)

// options are what all clients have in common.
func (s *server) options() ([]kgo.Opt, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(s.brokers...),
		kgo.ClientID("entrain"),
		kgo.SoftwareNameAndVersion("entrain", "1"),
		kgo.RetryTimeout(patience),
		kgo.DialTimeout(10 * time.Second),
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.DisableClientMetrics(),
		kgo.MaxDecompressBatchBytes(cmp.Or(s.unpacked, leastUnpacked)),
	}
	if s.tls != nil {
		cfg, err := s.tls.config()
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.DialTLSConfig(cfg))
	}
	if s.sasl != nil {
		opts = append(opts, kgo.SASL(s.sasl.login()))
	}
	return opts, nil
}

// asAdmin runs do with a client of its own, for as long as patience says.
func (s *server) asAdmin(ctx context.Context, do func(ctx context.Context, client *kgo.Client, adm *kadm.Client) error) error {
	opts, err := s.options()
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer client.Close()
	return s.failure(bounded(ctx, patience, func(ctx context.Context) error { return do(ctx, client, kadm.NewClient(client)) }))
}

func (s *SASLConfig) login() sasl.Mechanism {
	switch s.Mechanism {
	case "PLAIN":
		return plain.Auth{User: s.User, Pass: s.Password.Reveal()}.AsMechanism()
	case "SCRAM-SHA-256":
		return scram.Auth{User: s.User, Pass: s.Password.Reveal()}.AsSha256Mechanism()
	}
	return scram.Auth{User: s.User, Pass: s.Password.Reveal()}.AsSha512Mechanism()
}

func (t *TLSConfig) config() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify}
	if t.CAFile != "" {
		text, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls.ca_file: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("tls.ca_file %s has no certificate in PEM", t.CAFile)
		}
	}
	if t.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("tls.cert_file, tls.key_file: %w", err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg, nil
}

// producer returns the client of a writer.
func (p *production) producer() (*kgo.Client, error) {
	opts, err := p.options()
	if err != nil {
		return nil, err
	}
	opts = append(opts,
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), // ours, so that any client can do the same
		kgo.ProducerLinger(p.linger),
		kgo.ProducerBatchCompression(codec(p.compression)),
		kgo.ProducerBatchMaxBytes(p.maxMessage),
		kgo.MaxBufferedRecords(slabs*slabRecords+1), // our own bound is the slabs
		kgo.RecordDeliveryTimeout(patience),
		kgo.ProduceRequestTimeout(patience),
		kgo.ConcurrentTransactionsBackoff(time.Millisecond),
	)
	if p.exactly {
		opts = append(opts, kgo.TransactionalID(p.transactionalID), kgo.TransactionTimeout(p.transactionTimout))
	}
	return kgo.NewClient(opts...)
}

func codec(name string) kgo.CompressionCodec {
	switch name {
	case "zstd":
		return kgo.ZstdCompression()
	case "snappy":
		return kgo.SnappyCompression()
	case "gzip":
		return kgo.GzipCompression()
	case "none":
		return kgo.NoCompression()
	}
	return kgo.Lz4Compression()
}

// bounded runs do with a limit of its own: nothing waits forever for brokers
// that are gone.
func bounded(ctx context.Context, limit time.Duration, do func(ctx context.Context) error) error {
	within, cancel := context.WithTimeoutCause(ctx, limit, errSilent)
	defer cancel()
	err := do(within)
	if err != nil && ctx.Err() == nil && within.Err() != nil {
		return fmt.Errorf("%w: %w", errSilent, err)
	}
	return err
}

// errSilent is the cause of an end that the brokers brought about by not
// answering.
var errSilent = errors.New("the brokers did not answer in time")

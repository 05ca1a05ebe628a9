package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// roundTrips measures what one transaction at the target costs a client at
// least: position and row are sent together, as one implicit transaction, and
// the answer is awaited. They are made at the rate of the live load: back to
// back they would find every cache warm and nobody asleep.
func roundTrips(ctx context.Context, r *replica, n int) ([]time.Duration, error) {
	err := r.exec(ctx, "TRUNCATE t", "DROP TABLE IF EXISTS place",
		"CREATE TABLE place (id integer PRIMARY KEY, position text, version numeric)", "INSERT INTO place VALUES (1, '', 0)", "CHECKPOINT")
	if err != nil {
		return nil, err
	}
	s, err := connect(ctx, r.server.URL(r.db), nil)
	if err != nil {
		return nil, err
	}
	defer s.close(ctx)
	_, err1 := s.conn.Prepare(ctx, "move", "UPDATE place SET position = $1, version = $2 WHERE id = 1", nil)
	_, err2 := s.conn.Prepare(ctx, "insert_row", insertSQL, nil)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	pipeline := s.conn.StartPipeline(ctx)
	times := make([]time.Duration, 0, n)
	pace := newPace(liveRate)
	defer pace.stop()
	for i := range warmUp + n {
		if err := pace.wait(ctx, i); err != nil {
			return nil, errors.Join(err, pipeline.Close())
		}
		began := time.Now()
		if err := roundTrip(pipeline, i); err != nil {
			return nil, errors.Join(fmt.Errorf("round trip: %w", err), pipeline.Close())
		}
		if i >= warmUp {
			times = append(times, time.Since(began))
		}
	}
	return times, pipeline.Close()
}

// roundTrip sends transaction i and reads its answer.
func roundTrip(p *pgconn.Pipeline, i int) error {
	n := []byte(strconv.Itoa(i))
	p.SendQueryPrepared("move", [][]byte{n, n}, nil, nil)
	p.SendQueryPrepared("insert_row", [][]byte{n}, nil, nil)
	if err := p.Sync(); err != nil {
		return err
	}
	for {
		answer, err := p.GetResults()
		if err != nil {
			return err
		}
		switch answer := answer.(type) {
		case *pgconn.ResultReader:
			if _, err := answer.Close(); err != nil {
				return err
			}
		case *pgconn.PipelineSync:
			return nil
		}
	}
}

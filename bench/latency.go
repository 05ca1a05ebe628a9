package main

import "context"

func latency(ctx context.Context, h *harness) error { return nil }

package campaign

import (
	"fmt"
	"testing"
)

// TestPG26Promotion is promotionCampaign, sampled.
func TestPG26Promotion(t *testing.T) {
	r := sampled(t, 1, 0)
	for _, major := range failoverMajors(t) {
		t.Run(fmt.Sprintf("PostgreSQL %d", major), func(t *testing.T) { promotionCampaign(t, r.on(major)) })
	}
}

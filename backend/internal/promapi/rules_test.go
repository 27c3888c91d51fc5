package promapi

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// Alerts are united before the labels of hot are known, too.
func TestAlertsAreUnitedWithoutLabelsToAdd(t *testing.T) {
	united, err := UniteAlerts(
		json.RawMessage(`{"alerts":[{"labels":{"alertname":"A"}},{"labels":null}]}`),
		json.RawMessage(`{"alerts":[{"labels":{"alertname":"A"}}]}`), nil)
	require.NoError(t, err)
	require.JSONEq(t, `{"alerts":[{"labels":{"alertname":"A"},"tier":"hot,cold"},{"labels":{},"tier":"hot"}]}`, string(united))
}

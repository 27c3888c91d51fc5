package catalog

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Which labels of a target all of its series have depends on what the job does to the series.
func TestHonored_JobsWhoseSeriesHaveOtherLabels(t *testing.T) {
	for job, isHonored := range map[string]bool{
		`{job_name: j}`:                      false,
		`{job_name: j, honor_labels: true}`:  true,
		`{job_name: j, honor_labels: false}`: false,
		`{job_name: j, relabel_configs: [{action: labelmap, regex: "__meta_(.+)"}]}`:                                        false,
		`{job_name: j, metric_relabel_configs: [{source_labels: [__name__], regex: "go_.*", action: drop}]}`:                false,
		`{job_name: j, metric_relabel_configs: [{source_labels: [__name__], action: Keep}]}`:                                false,
		`{job_name: j, metric_relabel_configs: [{source_labels: [__name__], target_label: __name__}]}`:                      false,
		`{job_name: j, metric_relabel_configs: [{source_labels: [exported_namespace], target_label: namespace}]}`:           true,
		`{job_name: j, metric_relabel_configs: [{action: drop}, {source_labels: [a], target_label: a, action: lowercase}]}`: true,
		`{job_name: j, metric_relabel_configs: [{regex: "exported_(.+)", action: labelmap}]}`:                               true,
		`{job_name: j, metric_relabel_configs: [{regex: "pod", action: labeldrop}]}`:                                        true,
		`{job_name: j, metric_relabel_configs: [{regex: "__name__|job", action: labelkeep}]}`:                               true,
	} {
		config, err := parseConfig("scrape_configs: [" + job + "]")
		require.NoError(t, err)
		require.Equal(t, isHonored, len(config.honored().Jobs) == 1, job)
		require.True(t, config.honored().Known)
	}
	config, err := parseConfig("scrape_config_files: [more.yaml]")
	require.NoError(t, err)
	require.False(t, config.honored().Known)
}

{{/*
What the mode implies, as YAML: the tiers, who scrapes, and where DNS is.
*/}}
{{- define "tierproxy.implied" -}}
{{- if eq .Values.mode "openshift" }}
discovery:
  hot: {namespace: openshift-monitoring, name: prometheus-k8s}
  cold: {namespace: openshift-monitoring, name: thanos-querier}
hot: {podSelector: {matchLabels: {app.kubernetes.io/name: prometheus}}, port: 9091}
cold: {podSelector: {matchLabels: {app.kubernetes.io/name: thanos-query}}, port: 9091}
prometheus:
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: openshift-user-workload-monitoring}}
dns:
  - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: openshift-dns}}}]
    ports: [{port: 5353, protocol: UDP}, {port: 5353, protocol: TCP}]
monitorLabels: {}
{{- else }}
discovery:
  hot: {namespace: monitoring, name: kube-prometheus-stack-prometheus, port: http-web}
  cold: {namespace: monitoring, name: thanos-query, port: http}
hot: {podSelector: {matchLabels: {app.kubernetes.io/name: prometheus}}, port: 9090}
cold: {podSelector: {matchExpressions: [{key: app.kubernetes.io/name, operator: In, values: [thanos-query, thanos]}]}, port: 10902}
prometheus:
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}
    podSelector: {matchLabels: {app.kubernetes.io/name: prometheus}}
dns:
  - to:
      - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
        podSelector: {matchLabels: {k8s-app: kube-dns}}
    ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
monitorLabels: {release: kube-prometheus-stack}
{{- end }}
{{- end }}

{{/*
The second of two maps over the first one, as YAML. Unlike merge of Sprig, false and "" replace what is below them.
*/}}
{{- define "tierproxy.over" -}}
{{- $result := deepCopy (index . 0) }}
{{- range $key, $value := index . 1 }}
{{- $below := index $result $key }}
{{- if kindIs "invalid" $value }}
{{- $result = unset $result $key }}
{{- else if and (kindIs "map" $value) (kindIs "map" $below) }}
{{- $result = set $result $key (include "tierproxy.over" (list $below $value) | fromYaml) }}
{{- else }}
{{- $result = set $result $key $value }}
{{- end }}
{{- end }}
{{- toYaml $result }}
{{- end }}

{{/*
The Services that tierproxy looks for, as YAML: hot and cold, each a list of maps with the keys of discovery.hot.
*/}}
{{- define "tierproxy.services" -}}
{{- include "tierproxy.check" . }}
{{- $config := .Values.config }}
{{- $implied := (include "tierproxy.implied" . | fromYaml).discovery }}
{{- $discovery := $config.discovery | default dict }}
{{- $hot := list }}
{{- $cold := list }}
{{- $enabled := ne (toString (dig "enabled" true $discovery)) "false" }}
{{- if kindIs "slice" $config.hot }}
{{- range $config.hot }}
{{- if .service }}
{{- $hot = append $hot .service }}
{{- end }}
{{- end }}
{{- else if dig "url" "" ($config.hot | default dict) }}
{{- else if dig "service" "" ($config.hot | default dict) }}
{{- $hot = list $config.hot.service }}
{{- else if $enabled }}
{{- $hot = list (include "tierproxy.discovered" (list $implied.hot ($discovery.hot | default dict)) | fromYaml) }}
{{- end }}
{{- if and $enabled (not (dig "url" "" ($config.cold | default dict))) }}
{{- $cold = list (include "tierproxy.discovered" (list $implied.cold ($discovery.cold | default dict)) | fromYaml) }}
{{- end }}
{{- toYaml (dict "hot" $hot "cold" $cold) }}
{{- end }}

{{/*
discovery.hot or discovery.cold, with what the mode implies below it. A selector replaces the name, and all_namespaces the namespace.
*/}}
{{- define "tierproxy.discovered" -}}
{{- $implied := deepCopy (index . 0) }}
{{- $own := index . 1 }}
{{- if $own.selector }}
{{- $implied = omit $implied "name" }}
{{- end }}
{{- if $own.all_namespaces }}
{{- $implied = omit $implied "namespace" }}
{{- end }}
{{- include "tierproxy.over" (list $implied $own) }}
{{- end }}

{{/*
The configuration file.
*/}}
{{- define "tierproxy.config" -}}
{{- $perses := ternary "http://localhost:8080" "http://perses:8080" (eq .Values.mode "sidecar") }}
{{- $base := dict "perses" (dict "url" $perses) "admin" (dict "token_file" (printf "/etc/tierproxy-admin/%s" .Values.admin.secretKey)) }}
{{- $services := include "tierproxy.services" . | fromYaml }}
{{- $own := .Values.config }}
{{- $hotIsMap := or (not $own.hot) (kindIs "map" $own.hot) }}
{{- if eq .Values.mode "openshift" }}
{{- /* The service authority signs for Services of the cluster only. */}}
{{- $tls := dict "http_config" (dict "tls_config" (dict "ca_file" "/etc/tierproxy-service-ca/service-ca.crt")) }}
{{- if and $hotIsMap (include "tierproxy.isInCluster" $own.hot) }}
{{- $base = set $base "hot" (deepCopy $tls) }}
{{- end }}
{{- if include "tierproxy.isInCluster" $own.cold }}
{{- $base = set $base "cold" (deepCopy $tls) }}
{{- end }}
{{- else }}
{{- $base = set $base "cold" (dict "url" "") }}
{{- $discovery := dict }}
{{- if and $services.hot $hotIsMap (not (dig "service" "" ($own.hot | default dict))) }}
{{- $discovery = set $discovery "hot" (index $services.hot 0) }}
{{- end }}
{{- if $services.cold }}
{{- $discovery = set $discovery "cold" (index $services.cold 0) }}
{{- end }}
{{- if $discovery }}
{{- $base = set $base "discovery" $discovery }}
{{- end }}
{{- end }}
{{- with .Values.redis.address }}
{{- $redis := dict "address" . }}
{{- if $.Values.redis.secretName }}
{{- $redis = set $redis "password_file" (printf "/etc/tierproxy-redis/%s" $.Values.redis.secretKey) }}
{{- end }}
{{- $base = set $base "cache" (dict "redis" $redis) }}
{{- end }}
{{- include "tierproxy.over" (list $base $own) }}
{{- end }}

{{/*
The namespace of a host name in the cluster, such as that of thanos-query.monitoring.svc: "." for a name without dots,
and empty for hosts outside of the cluster.
*/}}
{{- define "tierproxy.namespaceOf" -}}
{{- $host := regexReplaceAll ":[0-9]+$" . "" }}
{{- if regexMatch "^[a-z0-9-]+$" $host }}.
{{- else if regexMatch "^[a-z0-9-]+\\.[a-z0-9-]+\\.svc(\\.cluster\\.local)?\\.?$" $host }}{{ index (splitList "." $host) 1 }}
{{- end }}
{{- end }}

{{/* Whether a tier is a Service of the cluster: "true" or nothing. */}}
{{- define "tierproxy.isInCluster" -}}
{{- $url := dig "url" "" (. | default dict) }}
{{- if or (not $url) (include "tierproxy.namespaceOf" (urlParse $url).host) }}true{{ end }}
{{- end }}

{{/*
What is wrong in the values and what a schema cannot say. It ends the rendering with all mistakes at once.
*/}}
{{- define "tierproxy.check" -}}
{{- $found := list }}
{{- $values := .Values }}
{{- $hosts := list }}
{{- $urls := list }}
{{- $tiers := list }}
{{- if kindIs "slice" $values.config.hot }}
{{- range $i, $tier := $values.config.hot }}
{{- $tiers = append $tiers (dict "at" (printf "config.hot[%d]" $i) "tier" $tier "listed" true) }}
{{- end }}
{{- else if $values.config.hot }}
{{- $tiers = append $tiers (dict "at" "config.hot" "tier" $values.config.hot) }}
{{- end }}
{{- with $values.config.cold }}
{{- $tiers = append $tiers (dict "at" "config.cold" "tier" .) }}
{{- end }}
{{- range $tier := $tiers }}
{{- if and .tier.url .tier.service }}
{{- $found = append $found (printf "%s: set either url or service, not both" .at) }}
{{- else if and .listed (not .tier.url) (not .tier.service) }}
{{- $found = append $found (printf "%s: set url or service" .at) }}
{{- end }}
{{- if .tier.service }}
{{- $found = concat $found (include "tierproxy.mistakesOfService" (list (printf "%s.service" .at) .tier.service) | fromJsonArray) }}
{{- end }}
{{- with .tier.url }}
{{- $urls = append $urls (dict "at" (printf "%s.url" $tier.at) "url" .) }}
{{- end }}
{{- end }}
{{- with dig "perses" "url" "" $values.config }}
{{- $urls = append $urls (dict "at" "config.perses.url" "url" .) }}
{{- end }}
{{- with dig "tracing" "endpoint" "" $values.config }}
{{- $urls = append $urls (dict "at" "config.tracing.endpoint" "url" . "never" true) }}
{{- end }}
{{- range $urls }}
{{- if regexMatch "^https?://[^/]" (toString .url) }}
{{- $hosts = append $hosts (set . "host" (urlParse .url).host) }}
{{- else }}
{{- $found = append $found (printf "%s: is not an http or https URL with a host. Write http(s)://host[:port][/path]" .at) }}
{{- end }}
{{- end }}
{{- with $values.redis.address }}
{{- if dig "cache" "redis" "address" "" $values.config }}
{{- $found = append $found "redis.address: config.cache.redis.address is set, too. Set one of them" }}
{{- end }}
{{- $hosts = append $hosts (dict "at" "redis.address" "host" .) }}
{{- else }}
{{- if $values.redis.secretName }}
{{- $found = append $found "redis.secretName: redis.address is empty. Set it, or remove the Secret" }}
{{- end }}
{{- end }}
{{- with dig "cache" "redis" "address" "" $values.config }}
{{- $hosts = append $hosts (dict "at" "config.cache.redis.address (better redis.address, which makes a rule)" "host" . "never" true) }}
{{- end }}
{{- if and $values.networkPolicy.enabled (not $values.networkPolicy.extraEgress) }}
{{- range $hosts }}
{{- if or .never (not (include "tierproxy.namespaceOf" .host)) }}
{{- $found = append $found (printf "%s: no rule of the network policy leads to %s. Add one to networkPolicy.extraEgress, or set networkPolicy.enabled to false. Rules for Services are made if you write NAME.NAMESPACE.svc" .at .host) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $values.networkPolicy.enabled (ne $values.mode "sidecar") (not $values.front.kind) (not $values.networkPolicy.extraIngress) (not (include "tierproxy.persesPeer" .)) }}
{{- $found = append $found "config.perses.url: names no Perses in the cluster, so no rule of the network policy lets anyone ask tierproxy. Add one to networkPolicy.extraIngress, such as {from: [{podSelector: {}}], ports: [{port: http}]} for the pods of the namespace, or set networkPolicy.enabled to false" }}
{{- end }}
{{- if $values.front.kind }}
{{- if not $values.front.host }}
{{- $found = append $found "front.host: is empty. Front mode needs the host of Perses" }}
{{- end }}
{{- if not $values.front.datasources }}
{{- $found = append $found "front.datasources: is empty. Front mode needs at least one datasource" }}
{{- end }}
{{- if eq $values.mode "sidecar" }}
{{- $found = append $found "front.kind: mode sidecar closes tierproxy to other pods. Use mode kubernetes for front mode" }}
{{- end }}
{{- end }}
{{- if eq $values.mode "sidecar" }}
{{- if gt (int ($values.replicas | default 1)) 1 }}
{{- $found = append $found "replicas: mode sidecar has one pod, because Perses keeps its data in files. Use mode kubernetes for more" }}
{{- end }}
{{- if and $values.dashboard.enabled (ne $values.dashboard.kind "ConfigMap") }}
{{- $found = append $found "dashboard.kind: with mode sidecar, no operator manages Perses. Remove the kind" }}
{{- end }}
{{- end }}
{{- $own := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/part-of" }}
{{- range $key, $_ := $values.podLabels }}
{{- if has $key $own }}
{{- $found = append $found (printf "podLabels: the chart sets %s itself, to select its pods. Remove it" $key) }}
{{- end }}
{{- end }}
{{- $own = concat $own (list "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart") }}
{{- if include "tierproxy.hasMonitor" . }}
{{- $own = concat $own (keys (include "tierproxy.monitorLabels" . | fromYaml) | sortAlpha) }}
{{- end }}
{{- range $key, $_ := $values.commonLabels }}
{{- if has $key $own }}
{{- $found = append $found (printf "commonLabels: the chart sets %s itself. Remove it" $key) }}
{{- end }}
{{- end }}
{{- $alerts := include "tierproxy.alertNames" . | fromJsonArray }}
{{- range $values.alerts.disabled }}
{{- if not (has . $alerts) }}
{{- $found = append $found (printf "alerts.disabled: there is no alert %q. There are %s" . (join ", " $alerts)) }}
{{- end }}
{{- end }}
{{- if $found }}
{{- fail (printf "the values have mistakes:\n- %s" (join "\n- " $found)) }}
{{- end }}
{{- end }}

{{/*
The mistakes of a Service of a tier, as a JSON array.
*/}}
{{- define "tierproxy.mistakesOfService" -}}
{{- $at := index . 0 }}
{{- $service := index . 1 }}
{{- $found := list }}
{{- if and (not $service.name) (not $service.selector) }}
{{- $found = append $found (printf "%s: set name or selector" $at) }}
{{- end }}
{{- if and (not $service.namespace) (not $service.all_namespaces) }}
{{- $found = append $found (printf "%s.namespace: is empty" $at) }}
{{- end }}
{{- if and $service.all_namespaces (not $service.selector) }}
{{- $found = append $found (printf "%s.all_namespaces: needs a selector" $at) }}
{{- end }}
{{- toJson $found }}
{{- end }}

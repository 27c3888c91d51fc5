{{/* The name of what the chart makes. It is that of a Service, too, which takes no dots. */}}
{{- define "tierproxy.fullname" -}}
{{- $name := .Values.fullnameOverride | default (contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name)) }}
{{- $name | toString | replace "." "-" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of the Deployment, of its Service and its network policy. */}}
{{- define "tierproxy.workload" -}}
{{- ternary .Values.sidecar.name (include "tierproxy.fullname" .) (eq .Values.mode "sidecar") }}
{{- end }}

{{- define "tierproxy.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "tierproxy.workload" .) }}
{{- end }}

{{/* The labels that select the pods. */}}
{{- define "tierproxy.selectorLabels" -}}
{{- if eq .Values.mode "sidecar" -}}
app.kubernetes.io/name: perses
{{- else -}}
app.kubernetes.io/name: tierproxy
app.kubernetes.io/part-of: tiered-prometheus
{{- end }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "tierproxy.labels" -}}
{{ include "tierproxy.selectorLabels" . }}
{{- if eq .Values.mode "sidecar" }}
app.kubernetes.io/part-of: tiered-prometheus
{{- end }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "tierproxy.metadata" -}}
name: {{ index . 1 | quote }}
namespace: {{ (index . 0).Release.Namespace | quote }}
labels:
  {{- include "tierproxy.labels" (index . 0) | nindent 2 }}
{{- end }}

{{/* The labels by which Prometheus selects monitors and rules. */}}
{{- define "tierproxy.monitorLabels" -}}
{{- $labels := .Values.metrics.labels | default (include "tierproxy.implied" . | fromYaml).monitorLabels }}
{{- if $labels }}
{{- toYaml $labels }}
{{- end }}
{{- end }}

{{/* Whether there is a monitor: "true" or nothing. */}}
{{- define "tierproxy.hasMonitor" -}}
{{- $kind := ternary "PodMonitor" "ServiceMonitor" (eq .Values.mode "sidecar") }}
{{- if eq (toString .Values.metrics.monitor) "auto" }}
{{- if .Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" $kind) }}true{{ end }}
{{- else if eq (toString .Values.metrics.monitor) "true" }}true{{ end }}
{{- end }}

{{- define "tierproxy.image" -}}
{{- $image := .Values.image }}
{{- if $image.registry }}{{ $image.registry | trimSuffix "/" }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "tierproxy.pluginImage" -}}
{{- if .Values.sidecar.pluginImage }}
{{- .Values.sidecar.pluginImage }}
{{- else }}
{{- if .Values.image.registry }}{{ .Values.image.registry | trimSuffix "/" }}/{{ end }}tiered-prometheus-plugin:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* 90 % of a memory limit, in MiB, as GOMEMLIMIT has it. */}}
{{- define "tierproxy.goMemLimit" -}}
{{- $limit := . }}
{{- if not (kindIs "string" $limit) }}
{{- $limit = toString (int64 $limit) }}
{{- end }}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 }}
{{- $unit := regexFind "[A-Za-z]*$" $limit }}
{{- if not (and (regexMatch "^[0-9]+(\\.[0-9]+)?[A-Za-z]*$" $limit) (hasKey $units $unit)) }}
{{- fail (printf "resources.limits.memory: %q is not an amount of memory such as 512Mi" $limit) }}
{{- end }}
{{- $bytes := mulf (float64 (trimSuffix $unit $limit)) (get $units $unit) }}
{{- printf "%dMiB" (divf (mulf $bytes 0.9) 1048576 | floor | int64) }}
{{- end }}

{{/*
The container of tierproxy. The second argument has the names of its ports and of its configuration volume, which depend on
what else is in the pod.
*/}}
{{- define "tierproxy.container" -}}
{{- $root := index . 0 }}
{{- $names := index . 1 }}
{{- $values := $root.Values }}
{{- $set := list }}
{{- range $values.extraEnv }}
{{- $set = append $set .name }}
{{- end }}
{{- $memory := dig "limits" "memory" "" $values.resources }}
{{- $env := list }}
{{- if and $memory (not (has "GOMEMLIMIT" $set)) }}
{{- $env = append $env (dict "name" "GOMEMLIMIT" "value" (include "tierproxy.goMemLimit" $memory)) }}
{{- end }}
{{- $env = concat $env $values.extraEnv }}
- name: tierproxy
  image: {{ include "tierproxy.image" $root }}
  {{- with $values.image.pullPolicy }}
  imagePullPolicy: {{ . }}
  {{- end }}
  args:
    - --config=/etc/tierproxy/tierproxy.yaml
    - --web.admin-address=:9191
    {{- if ne $values.mode "sidecar" }}
    # The Service sends requests here for a moment after the pod was told to stop.
    - --web.shutdown-delay=5s
    {{- end }}
    {{- range $values.extraArgs }}
    - {{ . | quote }}
    {{- end }}
  {{- with $env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  ports:
    - name: {{ $names.http }}
      containerPort: 9190
    - name: {{ $names.admin }}
      containerPort: 9191
  # A tier or Perses that is down does not make it unready: it answers with what it knows, and says what is wrong.
  startupProbe:
    httpGet: {path: /-/ready, port: {{ $names.http }}}
    periodSeconds: 1
    failureThreshold: 60
  readinessProbe:
    httpGet: {path: /-/ready, port: {{ $names.http }}}
    periodSeconds: 5
  livenessProbe:
    httpGet: {path: /-/healthy, port: {{ $names.http }}}
    periodSeconds: 10
    failureThreshold: 6
  {{- with $values.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml $values.securityContext | nindent 4 }}
  volumeMounts:
    - name: {{ $names.config }}
      mountPath: /etc/tierproxy
      readOnly: true
    - name: tierproxy-admin
      mountPath: /etc/tierproxy-admin
      readOnly: true
    {{- if eq $values.mode "sidecar" }}
    - name: tierproxy-service-account
      mountPath: /var/run/secrets/kubernetes.io/serviceaccount
      readOnly: true
    {{- end }}
    {{- if eq $values.mode "openshift" }}
    - name: service-ca
      mountPath: /etc/tierproxy-service-ca
      readOnly: true
    {{- end }}
    {{- if $values.redis.secretName }}
    - name: redis
      mountPath: /etc/tierproxy-redis
      readOnly: true
    {{- end }}
    {{- with $values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* The volumes of the container of tierproxy. */}}
{{- define "tierproxy.volumes" -}}
{{- $root := index . 0 }}
{{- $values := $root.Values }}
- name: {{ (index . 1).config }}
  configMap:
    name: {{ include "tierproxy.fullname" $root | quote }}
# The token of the admin address. Without it, the admin address refuses every request; everything else works.
- name: tierproxy-admin
  secret:
    secretName: {{ $values.admin.secretName | quote }}
    optional: true
{{- if eq $values.mode "openshift" }}
- name: service-ca
  configMap:
    name: {{ include "tierproxy.fullname" $root }}-service-ca
{{- end }}
{{- if $values.redis.secretName }}
- name: redis
  secret:
    secretName: {{ $values.redis.secretName | quote }}
{{- end }}
{{- with $values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Where the pods run. */}}
{{- define "tierproxy.scheduling" -}}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with index $.Values $key }}
{{ $key }}: {{ if kindIs "string" . }}{{ . | quote }}{{ else }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "tierproxy.podMetadata" -}}
annotations:
  kubectl.kubernetes.io/default-container: {{ ternary "perses" "tierproxy" (eq .Values.mode "sidecar") }}
  # A changed configuration replaces the pods one by one. With mistakes in it, the new ones do not get ready, and the old ones stay.
  checksum/config: {{ include (print $.Template.BasePath "/configmap.yaml") . | sha256sum }}
  {{- with .Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
labels:
  {{- include "tierproxy.labels" . | nindent 2 }}
  {{- with .Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "tierproxy.alertNames" -}}
{{- $names := list }}
{{- range (.Files.Get "files/rules.yaml" | fromYaml).groups }}
{{- range .rules }}
{{- if .alert }}
{{- $names = append $names .alert }}
{{- end }}
{{- end }}
{{- end }}
{{- toJson $names }}
{{- end }}

{{- define "tierproxy.datasource" -}}
default: {{ .Values.datasource.default }}
{{- with .Values.datasource.displayName }}
display:
  name: {{ . | quote }}
{{- end }}
plugin:
  kind: TieredPrometheusDatasource
  spec:
    proxy:
      kind: HTTPProxy
      spec:
        # The last part is the name of this datasource.
        url: http://{{ ternary "localhost" (include "tierproxy.fullname" .) (eq .Values.mode "sidecar") }}:9190/proxy/globaldatasources/{{ .Values.datasource.name }}
{{- end }}

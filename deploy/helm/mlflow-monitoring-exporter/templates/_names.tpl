{{- define "exporter.name" -}}
{{- if contains "mlflow" .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-mlflow-exporter" .Release.Name | trunc 63 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{- define "exporter.shared" -}}
{{- if not (kindIs "map" .Values.config) }}
{{- fail "config is empty: it is config.yaml, and needs at least mlflow.tracking_uri" }}
{{- end }}
{{- if hasPrefix "postgres://" (dig "state" "url" "" .Values.config) }}
{{- fail "config.state.url begins with postgres://: write postgresql://" }}
{{- end }}
{{- if hasPrefix "postgresql" (dig "state" "url" "" .Values.config) }}yes{{ end -}}
{{- end }}

{{- define "exporter.volume" -}}
{{- if and .Values.persistence.enabled (not (include "exporter.shared" .)) }}yes{{ end -}}
{{- end }}

{{- define "exporter.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "exporter.labels" -}}
{{ include "exporter.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: mlflow
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* The port and the scheme of the pages, as config.web has them. */}}
{{- define "exporter.port" -}}
{{- $listen := dig "web" "listen" ":9797" .Values.config | toString }}
{{- if hasPrefix "127." $listen | or (hasPrefix "localhost" $listen) }}
{{- fail "config.web.listen is on loopback, where no probe and no Prometheus reaches it: set it to :9797" }}
{{- end }}
{{- regexFind "[0-9]+$" $listen }}
{{- end }}

{{- define "exporter.scheme" -}}
{{- if dig "web" "tls_cert_file" "" .Values.config }}https{{ else }}http{{ end -}}
{{- end }}

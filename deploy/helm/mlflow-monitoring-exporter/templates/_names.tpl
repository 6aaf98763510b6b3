{{- define "exporter.name" -}}
{{- if contains "mlflow" .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-mlflow-exporter" .Release.Name | trunc 63 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{- define "exporter.shared" -}}
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

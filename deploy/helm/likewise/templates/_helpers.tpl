{{- define "likewise.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "likewise.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "likewise.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "likewise.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "likewise.selector" -}}
app.kubernetes.io/name: {{ include "likewise.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "likewise.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "likewise.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "likewise.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "likewise.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* Most pods there may be. */ -}}
{{- define "likewise.most" -}}
{{- if .Values.autoscaling.enabled -}}{{ .Values.autoscaling.maxReplicas }}{{- else -}}{{ .Values.replicas }}{{- end -}}
{{- end -}}

{{- /* What would work until somebody looks at the answers. */ -}}
{{- define "likewise.check" -}}
{{- $most := include "likewise.most" . | int -}}
{{- $store := .Values.config.store | toString -}}
{{- if and (gt $most 1) (or (hasPrefix "sqlite:" $store) (hasPrefix "memory:" $store)) -}}
{{- fail "several replicas need a store that they share: set config.store to redis://... or postgresql://..." -}}
{{- end -}}
{{- if and (gt $most 1) .Values.persistence.enabled (ne .Values.persistence.accessMode "ReadWriteMany") -}}
{{- fail "several replicas cannot share a claim that one node mounts: leave persistence off, the store has everything" -}}
{{- end -}}
{{- if and (gt (int .Values.workers) 1) (hasPrefix "memory:" $store) -}}
{{- fail "workers cannot share memory://: set config.store to another store" -}}
{{- end -}}
{{- end -}}

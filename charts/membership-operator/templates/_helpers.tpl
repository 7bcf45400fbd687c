{{- define "membership-operator.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "membership-operator.selector" -}}
app.kubernetes.io/name: membership-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "membership-operator.labels" -}}
{{ include "membership-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: membership
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "membership-operator.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "membership-operator.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed with serviceAccount.create=false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "membership-operator.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end }}

{{/* Exactly what the operator calls. No list or watch of Secrets, no wildcard, no exec. */}}
{{- define "membership-operator.rules" -}}
- apiGroups: [membership.unibus.dev]
  resources: [membershipclusters]
  verbs: [get, list, watch, patch]
- apiGroups: [membership.unibus.dev]
  resources: [membershipclusters/status]
  verbs: [patch]
# Children name the resource as their owner and block its deletion in the foreground.
- apiGroups: [membership.unibus.dev]
  resources: [membershipclusters/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [statefulsets, deployments]
  verbs: [get, list, watch, create, patch, delete]
# Made once, suspended when a move is given up, deleted when the result is told or another is wanted.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch]
# Deleted only when the membership service is not wanted any more.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# Read by name, made once.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create]
# Deleted only under deletionPolicy: Delete.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, patch, delete]
# Deleted to restart a server.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* Labels of the objects themselves. The selector uses `app` alone, as flannel's does. */}}
{{- define "flannel.labels" -}}
tier: node
k8s-app: flannel
app: flannel
{{- end }}

{{- define "flannel.image" -}}
{{- $image := .Values.flannel.image -}}
{{- $help := "set flannel.image.repository to your image of flanneld (docs/kubernetes.md#the-image)" -}}
{{- required $help $image.repository }}:{{ $image.tag }}
{{- end }}

{{/*
The values that are options of a backend: the key in net-conf.json by backend, and the value's type.
A default (unset, 0, false, "") is not written, because 0 is not a valid port or MTU.
*/}}
{{- define "flannel.optionTable" -}}
backendPort: {type: integer, keys: {vxlan: Port, wireguard: ListenPort, udp: Port}}
backendPortv6: {type: integer, keys: {wireguard: ListenPortV6}}
mtu: {type: integer, keys: {vxlan: MTU, wireguard: MTU, extension: MTU}}
vni: {type: integer, keys: {vxlan: VNI}}
GBP: {type: boolean, keys: {vxlan: GBP}}
directRouting: {type: boolean, keys: {vxlan: DirectRouting, ipip: DirectRouting}}
macPrefix: {type: string, keys: {vxlan: MacPrefix}}
psk: {type: string, keys: {wireguard: PSK, ipsec: PSK}}
tunnelMode: {type: string, keys: {wireguard: Mode}}
keepaliveInterval: {type: integer, keys: {wireguard: PersistentKeepaliveInterval}}
{{- end }}

{{/* The object `Backend` of net-conf.json, as JSON. */}}
{{- define "flannel.backend" -}}
{{- $backend := dict "Type" .Values.flannel.backend -}}
{{- range $name, $option := include "flannel.optionTable" . | fromYaml -}}
  {{- $key := get $option.keys $.Values.flannel.backend -}}
  {{- $value := get $.Values.flannel $name -}}
  {{- if and $key $value -}}
    {{- if eq $option.type "integer" }}{{ $value = int64 $value }}{{ end -}}
    {{- $_ := set $backend $key $value -}}
  {{- end -}}
{{- end -}}
{{- $used := dict -}}
{{- range keys $backend }}{{ $_ := set $used (lower .) true }}{{ end -}}
{{- range $key, $value := .Values.flannel.backendOptions -}}
  {{- if hasKey $used (lower $key) -}}
    {{- fail (printf "flannel.backendOptions has %s, which another value of flannel sets" $key) -}}
  {{- end -}}
  {{- $_ := set $backend $key $value -}}
{{- end -}}
{{- toJson $backend -}}
{{- end }}

{{/* net-conf.json. Built as a value, so that it is valid JSON for all values. */}}
{{- define "flannel.netConf" -}}
{{- $conf := dict "EnableNFTables" .Values.flannel.enableNFTables -}}
{{- if not (or .Values.podCidr .Values.podCidrv6) -}}
  {{- fail "set podCidr or podCidrv6: a cluster needs a pod network" -}}
{{- end -}}
{{- if .Values.podCidr -}}
  {{- $_ := set $conf "Network" .Values.podCidr -}}
{{- else -}}
  {{- $_ := set $conf "EnableIPv4" false -}}
{{- end -}}
{{- if .Values.podCidrv6 -}}
  {{- $_ := set $conf "EnableIPv6" true -}}
  {{- $_ := set $conf "IPv6Network" .Values.podCidrv6 -}}
{{- end -}}
{{- $_ := set $conf "Backend" (include "flannel.backend" . | fromJson) -}}
{{- toPrettyJson $conf -}}
{{- end }}

{{/* charon of ipsec listens on port 500. */}}
{{- define "flannel.capabilities" -}}
{{- $capabilities := list "NET_ADMIN" "NET_RAW" -}}
{{- if eq .Values.flannel.backend "ipsec" }}{{ $capabilities = append $capabilities "NET_BIND_SERVICE" }}{{ end -}}
{{- toJson $capabilities -}}
{{- end }}

{{/* Of the init containers, which only write files of root into directories of root. */}}
{{- define "flannel.fileSecurityContext" -}}
privileged: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* The options that are set but that this backend does not have. */}}
{{- define "flannel.unusedOptions" -}}
{{- $unused := list -}}
{{- range $name, $option := include "flannel.optionTable" . | fromYaml -}}
  {{- if and (get $.Values.flannel $name) (not (hasKey $option.keys $.Values.flannel.backend)) -}}
    {{- $unused = append $unused (printf "flannel.%s" $name) -}}
  {{- end -}}
{{- end -}}
{{- join ", " $unused -}}
{{- end }}

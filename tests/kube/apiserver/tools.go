//go:build tools

// Package tools pins the kube-apiserver that the tests build (../kube_apiserver.sh).
package tools

import _ "k8s.io/kubernetes/cmd/kube-apiserver"

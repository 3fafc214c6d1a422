module failoverd/lab/crds

go 1.26.0

// Nothing is built from these: the lab reads the custom resource definitions they carry.
require (
	github.com/fluxcd/kustomize-controller v1.7.3
	github.com/fluxcd/source-controller v1.8.5
)

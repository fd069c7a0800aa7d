module perch/e2e/clients

go 1.26.0

ignore (
	./node_modules
	./out
)

require (
	go.yaml.in/yaml/v3 v3.0.5
	perch v0.0.0
)

require (
	github.com/apapsch/go-jsonmerge/v2 v2.0.0 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/oapi-codegen/runtime v1.8.0 // indirect
)

replace perch => ../..

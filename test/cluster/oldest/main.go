// What the API server of the oldest Kubernetes that we support says of a CustomResourceDefinition: its own validation,
// with structural rules, CEL rules and what those may cost at most. Newer versions allow more.
//
//	oldest < logpipelines.yaml
//	        one line per objection on standard output
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"sigs.k8s.io/yaml"
)

const inputBytesMax = 1 << 20

func main() {
	if err := judge(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "oldest:", err)
		os.Exit(1)
	}
}

func judge(input io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(input, inputBytesMax))
	if err != nil {
		return err
	}
	var given v1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &given); err != nil {
		return err
	}
	v1.SetDefaults_CustomResourceDefinition(&given)
	v1.SetDefaults_CustomResourceDefinitionSpec(&given.Spec)
	var crd apiextensions.CustomResourceDefinition
	if err := v1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&given, &crd, nil); err != nil {
		return err
	}
	for _, version := range crd.Spec.Versions {
		crd.Status.StoredVersions = append(crd.Status.StoredVersions, version.Name)
	}
	for _, objection := range validation.ValidateCustomResourceDefinition(context.Background(), &crd) {
		fmt.Println(objection)
	}
	return nil
}

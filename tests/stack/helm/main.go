// Renders a chart as `helm template` does, where Helm itself is not installed: Go's templates, the functions of
// sprig, include, required, toYaml and fromYaml, and the files of the chart.
//
//	main CHART RELEASE VALUES.json    values are whole: those of the chart with those of the user merged in
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"gopkg.in/yaml.v3"
)

type files map[string][]byte

func (all files) Get(name string) string { return string(all[name]) }

func (all files) Glob(pattern string) files {
	found := files{}
	for name, content := range all {
		if matched, _ := filepath.Match(pattern, name); matched {
			found[name] = content
		}
	}
	return found
}

func (all files) AsConfig() string {
	texts := map[string]string{}
	for name, content := range all {
		texts[filepath.Base(name)] = string(content)
	}
	out, err := yaml.Marshal(texts)
	check(err)
	return strings.TrimSuffix(string(out), "\n")
}

func filesOf(chart string) files {
	found := files{}
	for _, pattern := range []string{"files/*/*"} {
		names, err := filepath.Glob(filepath.Join(chart, pattern))
		check(err)
		for _, name := range names {
			content, err := os.ReadFile(name)
			check(err)
			short, err := filepath.Rel(chart, name)
			check(err)
			found[short] = content
		}
	}
	return found
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	chart, release, valuesFile := os.Args[1], os.Args[2], os.Args[3]
	var values, about map[string]interface{}
	text, err := os.ReadFile(valuesFile)
	check(err)
	check(json.Unmarshal(text, &values))
	text, err = os.ReadFile(filepath.Join(chart, "Chart.yaml"))
	check(err)
	check(yaml.Unmarshal(text, &about))
	capitalized := map[string]interface{}{}
	for key, value := range about {
		capitalized[strings.ToUpper(key[:1])+key[1:]] = value
	}
	context := map[string]interface{}{
		"Values":  values,
		"Chart":   capitalized,
		"Files":   filesOf(chart),
		"Release": map[string]interface{}{"Name": release, "Namespace": "monitoring", "Service": "Helm"},
	}
	all := template.New("chart").Option("missingkey=zero")
	functions := sprig.TxtFuncMap()
	functions["toYaml"] = func(value interface{}) (string, error) {
		var out bytes.Buffer
		encoder := yaml.NewEncoder(&out)
		encoder.SetIndent(2)
		err := encoder.Encode(value)
		return strings.TrimSuffix(out.String(), "\n"), err
	}
	functions["fromYaml"] = func(text string) (map[string]interface{}, error) {
		var found map[string]interface{}
		err := yaml.Unmarshal([]byte(text), &found)
		return found, err
	}
	functions["include"] = func(name string, data interface{}) (string, error) {
		var out strings.Builder
		err := all.ExecuteTemplate(&out, name, data)
		return out.String(), err
	}
	functions["required"] = func(message string, value interface{}) (interface{}, error) {
		if value == nil || value == "" {
			return nil, fmt.Errorf("%s", message)
		}
		return value, nil
	}
	all.Funcs(functions)
	files, err := filepath.Glob(filepath.Join(chart, "templates", "*"))
	check(err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		check(err)
		_, err = all.New(filepath.Base(file)).Parse(string(text))
		check(err)
	}
	for _, file := range files {
		if name := filepath.Base(file); strings.HasSuffix(name, ".yaml") {
			fmt.Printf("---\n# Source: %s\n", name)
			check(all.ExecuteTemplate(os.Stdout, name, context))
		}
	}
}

package main

import (
	"fmt"
	"net/http"
	"sync/atomic"
)

// kubeAPI is as much of a Kubernetes API server as vlagent's collector asks for: one node, one namespace and a pod per
// log file, to list, get and watch. The watch never reports anything.
type kubeAPI struct{ pods atomic.Int64 }

type object = map[string]any

func (k *kubeAPI) handler() http.Handler {
	node := object{"kind": "Node", "apiVersion": "v1", "metadata": object{
		"name": "node-1", "resourceVersion": "1", "labels": object{"kubernetes.io/hostname": "node-1"}}}
	space := object{"kind": "Namespace", "apiVersion": "v1", "metadata": object{
		"name": namespace, "resourceVersion": "1", "labels": object{"kubernetes.io/metadata.name": namespace}}}
	mux := http.NewServeMux()
	get := func(path string, make func(r *http.Request) any) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) { reply(w, make(r)) })
	}
	get("/version", func(*http.Request) any { return object{"major": "1", "minor": "36", "gitVersion": "v1.36.0"} })
	get("/api/v1/nodes", func(*http.Request) any { return listOf("NodeList", []object{node}) })
	get("/api/v1/nodes/{name}", func(*http.Request) any { return node })
	get("/api/v1/namespaces", func(*http.Request) any { return listOf("NamespaceList", []object{space}) })
	get("/api/v1/namespaces/{name}", func(*http.Request) any { return space })
	get("/api/v1/namespaces/{space}/pods/{name}", func(r *http.Request) any {
		var file int
		if _, err := fmt.Sscanf(r.PathValue("name"), "app-%d-", &file); err != nil {
			return object{"kind": "Status", "code": 404}
		}
		return podObject(file)
	})
	pods := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") != "" {
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		list := []object{}
		for i := range int(k.pods.Load()) {
			list = append(list, podObject(i))
		}
		reply(w, listOf("PodList", list))
	}
	mux.HandleFunc("GET /api/v1/pods", pods)
	mux.HandleFunc("GET /api/v1/namespaces/{space}/pods", pods)
	return mux
}

func listOf(kind string, items []object) object {
	return object{"kind": kind, "apiVersion": "v1", "metadata": object{"resourceVersion": "100"}, "items": items}
}

func podObject(file int) object {
	image := "registry.example/app:1"
	labels := object{"app.kubernetes.io/name": fmt.Sprintf("app-%04d", file), "app.kubernetes.io/instance": "bench"}
	status := object{"name": containerName, "containerID": "containerd://" + containerID(file), "image": image}
	return object{"kind": "Pod", "apiVersion": "v1",
		"metadata": object{"name": podName(file), "namespace": namespace, "uid": podUID(file), "resourceVersion": "100",
			"labels": labels},
		"spec":   object{"nodeName": "node-1", "containers": []object{{"name": containerName, "image": image}}},
		"status": object{"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": []object{status}}}
}

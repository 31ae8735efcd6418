/**
 * Objects as the API server writes them in JSON (times are strings, absent lists are absent), the kinds of them we know,
 * and where they lie.
 */

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
}

export interface ObjectMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid: string;
  /** Opaque, but for the order of two of them that are decimal numbers. */
  readonly resourceVersion: string;
  readonly generation?: number;
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly OwnerReference[];
  readonly managedFields?: readonly unknown[];
}

/** Any object; items of lists carry neither apiVersion nor kind. */
export interface KubeObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: ObjectMeta;
}

/** What a trimmed object must have kept to stay in a cache. */
export interface Kept {
  readonly metadata: Pick<ObjectMeta, "name" | "namespace" | "uid" | "resourceVersion">;
}

/** What goes to the server; it fills in the rest. */
export interface Draft {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: Partial<ObjectMeta> & { readonly generateName?: string };
}

/** What comes back of a draft: at least that. */
export type Stored<D> = D & KubeObject;

/** A kind of object and where it lies; `group` is "" for the core. */
export interface Resource {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
}

/** Names one object; `namespace` only where the resource has them. */
export interface Ref {
  readonly namespace?: string | undefined;
  readonly name: string;
}

const core = (kind: string, plural: string, namespaced = true): Resource => ({
  ...{ group: "", version: "v1", kind, plural, namespaced },
});

export const pods = core("Pod", "pods");
export const secrets = core("Secret", "secrets");
export const configMaps = core("ConfigMap", "configmaps");
export const namespaces = core("Namespace", "namespaces", false);
export const leases: Resource = {
  ...{ group: "coordination.k8s.io", version: "v1", kind: "Lease", plural: "leases", namespaced: true },
};

/** `v1` or `group/version`. */
export function apiVersionOf({ group, version }: Resource): string {
  return group === "" ? version : `${group}/${version}`;
}

/** The key of an object in a cache: `namespace/name`, or `name` where it has no namespace. */
export function keyOf({ namespace, name }: Ref): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}

/**
 * The path of a collection (no name) or an object. A namespaced resource without a namespace is the collection of all
 * namespaces. Throws for names that would lead elsewhere, and for an object whose namespace is missing.
 */
export function pathOf(resource: Resource, at: Partial<Ref> = {}, subresource?: string): string {
  const parts = [resource.group === "" ? "api" : `apis/${resource.group}`, resource.version];
  const { namespace, name } = at;
  if (resource.namespaced && namespace !== undefined) parts.push("namespaces", segment(namespace));
  else if (resource.namespaced && name !== undefined) throw new Error(`${resource.kind} ${name} needs a namespace`);
  else if (!resource.namespaced && namespace) throw new Error(`a ${resource.kind} lies in no namespace`);
  parts.push(resource.plural);
  if (name !== undefined) parts.push(segment(name));
  if (subresource !== undefined) parts.push(segment(subresource));
  return `/${parts.join("/")}`;
}

/** A name as part of a path. What the API server itself refuses (apimachinery, path segment names) never leaves us. */
function segment(name: string): string {
  if (name === "" || name === "." || name === ".." || /[/%]/.test(name)) {
    throw new Error(`${JSON.stringify(name)} cannot be the name of an object`);
  }
  return encodeURIComponent(name);
}

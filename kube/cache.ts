/**
 * The objects a watch knows, by `namespace/name`, and what each list or event changes about them. An object is itself
 * only with its uid: one that was deleted and made again under its name is a deletion and an addition.
 */
import { type Kept, keyOf } from "./objects.ts";

/** `object` of a deletion is what was kept of it. */
export type Change<T> =
  | { readonly kind: "added" | "deleted"; readonly key: string; readonly object: T }
  | { readonly kind: "changed"; readonly key: string; readonly object: T; readonly previous: T };

export class Cache<T extends Kept> {
  readonly #objects = new Map<string, T>();
  readonly #onChange: (change: Change<T>) => void;
  /** Keys that the list under way has shown; undefined between lists. */
  #listed: Set<string> | undefined;

  /** `onChange` hears of each change once it is made, and may not throw. */
  constructor(onChange: (change: Change<T>) => void) {
    this.#onChange = onChange;
  }

  get objects(): ReadonlyMap<string, T> {
    return this.#objects;
  }

  /** As a list shows it, or an event of type ADDED or MODIFIED. */
  put(object: T): void {
    const key = keyOf(object.metadata);
    this.#listed?.add(key);
    const previous = this.#objects.get(key);
    if (previous && previous.metadata.uid !== object.metadata.uid) this.#remove(key, previous);
    else if (previous) {
      if (previous.metadata.resourceVersion === object.metadata.resourceVersion) return;
      this.#objects.set(key, object);
      this.#onChange({ kind: "changed", key, object, previous });
      return;
    }
    this.#objects.set(key, object);
    this.#onChange({ kind: "added", key, object });
  }

  /** The list has this object, but what is kept of it stays as it is. */
  keep(key: string): void {
    this.#listed?.add(key);
  }

  /** As an event of type DELETED says; of an object of that name with another uid it says nothing. */
  delete(metadata: Kept["metadata"]): void {
    const key = keyOf(metadata);
    const known = this.#objects.get(key);
    if (known?.metadata.uid === metadata.uid) this.#remove(key, known);
  }

  /** A list begins; one that was broken off is forgotten. */
  beginList(): void {
    this.#listed = new Set();
  }

  /** The list is complete: what it did not show was deleted while nobody watched. */
  endList(): void {
    const listed = this.#listed;
    this.#listed = undefined;
    if (!listed) return;
    for (const [key, object] of this.#objects) if (!listed.has(key)) this.#remove(key, object);
  }

  #remove(key: string, object: T): void {
    this.#objects.delete(key);
    this.#onChange({ kind: "deleted", key, object });
  }
}

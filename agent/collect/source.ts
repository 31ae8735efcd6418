/** Where records come from: one container instance, as its log path names it. */
export interface Source {
  /** `<pod uid>/<container>/<restart>`: the chain's name, unique on the node. */
  readonly id: string;
  readonly namespace: string;
  readonly pod: string;
  readonly uid: string;
  readonly container: string;
  /** How often the container was started before this instance. */
  readonly restart: number;
  readonly node: string;
}

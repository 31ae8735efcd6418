/**
 * The status of both kinds of pipeline, as the operator writes it. All texts and lists are bounded, the counters are sums
 * over all agents that ever reported, and never decrease.
 */
import { z } from "zod";
import { SINKS_MAX } from "./schema.ts";

const CONDITIONS_MAX = 16;
const FAILING_NODES_MAX = 10;

const counter = (description: string) =>
  z.int().min(0).max(Number.MAX_SAFE_INTEGER).meta({ description, format: "int64" });
const short = (description: string) => z.string().max(64).meta({ description });

/** The form of metav1.Condition. */
const condition = z.strictObject({
  type: z
    .string()
    .max(316)
    .regex(/^([A-Za-z0-9][A-Za-z0-9.-]*\/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$/)
    .meta({ description: "What it is about: Ready, Accepted, ResolvedRefs and more." }),
  status: z.enum(["True", "False", "Unknown"]).meta({ description: "Whether it holds." }),
  observedGeneration: counter("The metadata.generation that was judged.").exactOptional(),
  lastTransitionTime: z.string().max(64).meta({ description: "When status last changed.", format: "date-time" }),
  reason: z
    .string()
    .max(1024)
    .regex(/^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$/)
    .meta({ description: "Why, in one word." }),
  message: z.string().max(32_768).meta({ description: "Why, for people." }),
});

const count = (description: string) =>
  z
    .strictObject({
      lines: counter("Lines, where they were seen."),
      bytes: counter("Bytes of the source files."),
    })
    .meta({ description });

/**
 * In bytes, source = delivered + filtered + dropped + dead-lettered + lost + in flight + backlog; in lines, of what was
 * read, read = delivered + filtered + dropped + dead-lettered + in flight.
 */
const ledger = (description: string) =>
  z
    .strictObject({
      sourceBytes: counter("Bytes of the log files that are the pipeline's."),
      readLines: counter("Lines read so far."),
      delivered: count("What the sink has accepted."),
      filtered: count("What the pipeline's steps dropped."),
      dropped: count("What was given up."),
      deadLettered: count("What lies in the dead-letter queue."),
      lost: count("What was gone before it could be read."),
      inFlight: count("What was read and is not settled yet."),
      backlogBytes: counter("What is not read yet."),
    })
    .meta({ description });

const sink = z.strictObject({
  name: z.string().max(63).meta({ description: "Name of the sink." }),
  state: short("How it is doing, in one word.").exactOptional(),
  ledger: ledger("Where its lines are, over the agents that report.").exactOptional(),
  departed: ledger("Where the lines of agents that are gone were.").exactOptional(),
  deadLettered: counter("Lines in the dead-letter queue.").exactOptional(),
  lastError: z.string().max(1024).meta({ description: "What the sink last answered when it refused." }).exactOptional(),
});

const failingNode = z.strictObject({
  node: z.string().max(253).meta({ description: "Name of the node." }),
  reason: short("Why, in one word.").exactOptional(),
  message: z.string().max(1024).meta({ description: "Why, for people." }).exactOptional(),
});

export const status = z
  .strictObject({
    observedGeneration: counter("The metadata.generation that this status is about.").exactOptional(),
    conditions: z
      .array(condition)
      .max(CONDITIONS_MAX)
      .meta({ description: "What holds, and why.", listKey: "type" })
      .exactOptional(),
    summary: z
      .strictObject({
        agents: short("Agents that run this generation, of all: 12/12.").exactOptional(),
        sinks: short("Sinks that accept lines, of all: 2/3.").exactOptional(),
        rate: short("Lines delivered: 1.2k/s.").exactOptional(),
        lag: short("Age of the oldest line that is not delivered: <10s.").exactOptional(),
      })
      .meta({ description: "What kubectl get shows." })
      .exactOptional(),
    sinks: z.array(sink).max(SINKS_MAX).meta({ description: "Each sink.", listKey: "name" }).exactOptional(),
    delivered: counter("Lines delivered, over all sinks.").exactOptional(),
    lost: counter("Lines known lost, over all sinks.").exactOptional(),
    deadLettered: counter("Lines in dead-letter queues, over all sinks.").exactOptional(),
    failingNodes: z
      .array(failingNode)
      .max(FAILING_NODES_MAX)
      .meta({ description: "Nodes whose agent does not run this generation or does not report; the first few." })
      .exactOptional(),
  })
  .meta({ description: "How it is going; written by the operator." });

export type PipelineStatus = z.output<typeof status>;
export type Condition = z.output<typeof condition>;

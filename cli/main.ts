/**
 * The command line. Each verb is a file that exports `command()`; only the verb that was asked for is loaded, so that
 * `validate` does not wait for the agent's libraries.
 *
 * Exit codes: 0 good, 2 bad arguments or configuration; `run --once` adds its own.
 */
import { Command, CommanderError } from "commander";
import manifest from "../package.json" with { type: "json" };

interface Verb {
  summary: string;
  load: () => Promise<{ command: () => Command }>;
}

const VERBS: Record<string, Verb> = {
  run: { summary: "ship logs as the pipelines in the files say", load: () => import("./run.ts") },
  validate: { summary: "check configuration files", load: () => import("./validate.ts") },
  render: { summary: "show the effective pipelines, defaults filled in", load: () => import("./render.ts") },
};

async function main(args: readonly string[]): Promise<number> {
  const program = new Command("tailrace")
    .description("Ships container logs, with every line accounted for.")
    .version(manifest.version, "-V, --version", "print the version")
    .helpOption("-h, --help", "print help; after a command, its own")
    .helpCommand("help [command]", "print help for a command")
    .configureHelp({ subcommandTerm: (command) => command.name() })
    .exitOverride();
  const words = args.filter((word) => !word.startsWith("-"));
  const asked = words[0] === "help" ? words[1] : words[0];
  for (const [name, { summary, load }] of Object.entries(VERBS)) {
    const command = name === asked ? (await load()).command() : new Command(name);
    program.addCommand(command.summary(summary).exitOverride());
  }
  program.addHelpText(
    "after",
    `
Examples:
  tailrace validate -f pipeline.yaml
  tailrace run -f pipeline.yaml --logs-dir /var/log/pods
  tailrace help run`,
  );
  if (args.length === 0) {
    program.outputHelp({ error: true });
    return 2;
  }
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? 0 : 2;
  }
  return Number(process.exitCode ?? 0);
}

// A reader that went away, as in `tailrace render … | head`, is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit();
});
process.exitCode = await main(process.argv.slice(2));

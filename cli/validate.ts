/** `tailrace validate`: whether `run` would take the files. */
import { Command } from "commander";
import { loadConfig } from "./files.ts";
import { filesOption, outputOption, printJson, printProblems } from "./print.ts";
import type { Output } from "./print.ts";

export function command(): Command {
  return new Command("validate")
    .description(
      "Checks configuration files as `run` reads them: one line per problem on standard error, exit code 2 when there is one.",
    )
    .addOption(filesOption())
    .addOption(outputOption())
    .addHelpText(
      "after",
      `
Examples:
  tailrace validate -f pipeline.yaml
  tailrace validate -f pipelines/ -f secrets.yaml
  kustomize build . | tailrace validate -f - -o json`,
    )
    .action(async ({ file, output }: { file: string[]; output: Output }) => {
      const { config, problems, notes } = await loadConfig(file);
      if (output === "json") printJson({ valid: config !== undefined, problems, notes });
      else {
        printProblems(problems, notes);
        for (const { id, sinks } of config?.pipelines ?? []) {
          process.stdout.write(
            `${id} is valid; sinks: ${sinks.map(({ name, type }) => `${name} (${type})`).join(", ")}\n`,
          );
        }
      }
      if (config === undefined) process.exitCode = 2;
    });
}

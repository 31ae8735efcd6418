/** `tailrace render`: what the agent makes of the files. */
import { Command } from "commander";
import { renderConfig, toYaml } from "../crds/render.ts";
import { loadConfig } from "./files.ts";
import { filesOption, outputOption, printJson, printProblems } from "./print.ts";
import type { Output } from "./print.ts";

export function command(): Command {
  return new Command("render")
    .description(
      "Prints the effective configuration: defaults filled in, overrides merged into each sink, secrets masked.",
    )
    .addOption(filesOption())
    .addOption(outputOption())
    .addHelpText(
      "after",
      `
Examples:
  tailrace render -f pipeline.yaml
  tailrace render -f pipelines/ -o json`,
    )
    .action(async ({ file, output }: { file: string[]; output: Output }) => {
      const { config, problems, notes } = await loadConfig(file);
      printProblems(problems, notes);
      if (config === undefined) process.exitCode = 2;
      else if (output === "json") printJson(renderConfig(config));
      else process.stdout.write(toYaml(renderConfig(config)));
    });
}

// ./build/similarity.
#include <cstdlib>
#include <string>
#include <vector>

#include "program/command_line.h"

int main(int argc, char** argv) {
  // Releases of ONNX Runtime from 1.31 on report their use over the network, and keep a device id, unless told before
  // they start. This program works without a network; set the variable to 0 to allow the reports.
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);
  rrn::CommandLineDefaults defaults;
  defaults.caller.program = "similarity";
  return rrn::RunCommandLine(defaults, std::vector<std::string>(argv + 1, argv + argc));
}

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	_ "time/tzdata" // the image has no time zones of its own, and renewal windows are told in them

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// version is set when the binary is linked.
var version = "unknown"

func main() {
	if err := command().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "trustglass:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "trustglass",
		Short:         "Issues certificates, mirrors Secrets where they may go, and publishes trust",
		SilenceUsage:  true,
		SilenceErrors: true,
		// Cobra prints it as versionLine does. A template of our own would have the linker keep every method of every type.
		Version: versionDetail(),
	}
	root.AddCommand(runCommand(), versionCommand())
	return root
}

func runCommand() *cobra.Command {
	cfg := defaultConfig()
	file := ""
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon",
		Long: "Run the daemon until it is told to stop (SIGTERM or SIGINT).\n\n" +
			"Every flag is also a key of the config file (camelCase) and an environment variable (" + envPrefix + "...).\n" +
			"A flag wins over the environment, which wins over the file.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cfg.load(cmd.Flags(), file, os.LookupEnv); err != nil {
				return err
			}
			if err := cfg.Validate(); err != nil {
				return fmt.Errorf("the configuration is not valid:\n%w", err)
			}
			logger, err := newLogger(cfg)
			if err != nil {
				return err
			}
			cfg.warnIgnored(cmd.Flags(), os.Environ(), logger)
			setGCPercent(gcPercent)
			if at := cfg.ProfilingBindAddress; at == "" || at == "0" {
				runtime.MemProfileRate = 0 // nobody can ask for what it would remember
			}
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return run(logr.NewContext(ctx, logger), cfg)
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "path of a config file (YAML)")
	cfg.addFlags(cmd.Flags())
	return cmd
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprint(cmd.OutOrStdout(), versionLine())
		},
	}
}

func versionLine() string { return "trustglass version " + versionDetail() + "\n" }

func versionDetail() string {
	return fmt.Sprintf("%s (%s, %s/%s)", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func newLogger(cfg Config) (logr.Logger, error) {
	c := zap.NewProductionConfig()
	c.Sampling = nil
	c.DisableStacktrace = true
	c.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	c.Level = zap.NewAtomicLevelAt(zapcore.Level(-cfg.LogLevel))
	if cfg.LogFormat == formatConsole {
		c.Encoding = "console"
	}
	z, err := c.Build()
	if err != nil {
		return logr.Logger{}, fmt.Errorf("building the logger: %w", err)
	}
	return zapr.NewLogger(z), nil
}

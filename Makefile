# The targets a person calls. Only `make test` and what it needs run without
# anything but Go; the others install what they need.
GO      ?= go
BIN     := bin/gregor
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/gregorhq/gregor/internal/buildinfo.Version=$(VERSION)

export CGO_ENABLED = 0

.PHONY: build run test race vet lint cross fuzz bench compat compat-groups compat-copier compat-codes compat-streams compat-mixed compat-franz exchange sim mutants fulldisk faults chaos soak oracle install-links clean

build: ## Build the static binary.
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/gregor

run: build ## Build, then run one node on embedded defaults (data in ./gregor-data).
	./$(BIN) dev

test: ## Everything that needs only Go.
	$(GO) vet ./...
	$(GO) test ./...
	$(GO) test -count=1 ./test/floors

race: ## The same under the race detector, with assertions on.
	CGO_ENABLED=1 $(GO) test -race -tags gregor_invariants ./...

vet:
	$(GO) vet ./...

lint: ## staticcheck by the rules of staticcheck.conf.
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

cross: ## Every platform that the binary is built for.
	@set -e; for os in linux darwin windows; do for arch in amd64 arm64; do \
	  echo "$$os/$$arch"; GOOS=$$os GOARCH=$$arch $(GO) build -o /dev/null ./cmd/gregor; done; done

FUZZTIME ?= 5s
fuzz: ## Each fuzz target for FUZZTIME.
	@bash test/fuzz.sh $(FUZZTIME)

bench: build ## ours / floor / Apache Kafka in one table; ROWS=1a,6 picks rows.
	@bash bench/run.sh $(ROWS)

compat: build ## Other people's clients and tools against gregor, in one table; NODES=1 (or 3), ONLY=kcat,java.
	@bash test/compat/run.sh

compat-groups: build ## Apache's Java consumers in groups, members coming and going; ROUNDS=1.
	@bash test/compat/groups.sh

compat-copier: build ## Apache's TransactionalMessageCopier while the node is killed; RUNS=1.
	@bash test/compat/copier.sh

compat-codes: build ## Every error code of groups and transactions against Java's client and librdkafka; ONLY=, CLIENTS=.
	@bash test/compat/codes.sh

compat-streams: build ## Kafka Streams' word count, exactly_once_v2, while node and application are killed; RUNS=1.
	@bash test/compat/streams.sh

compat-franz: build ## franz-go's suite; RUNS=1 NODES=1 (or 3, killed in turn) CHAOS=0.
	@bash test/compat/franz.sh

compat-mixed: build ## A cluster of gregor and Apache Kafka; CONTROLLER=kafka or gregor.
	@bash test/compat/mixed.sh

exchange: build ## gregor and Apache Kafka serve one data directory in turn; ROUNDS=5.
	@bash test/compat/exchange.sh

oracle: build ## Every request in every version to Apache Kafka and gregor, answers compared; ONLY=, TEXTS=1.
	@bash test/compat/oracle.sh

SEEDS ?= 2000
FIRST ?= 1
NODES ?= 1
sim: ## Whole clusters on virtual time, disks and networks: SEEDS seeds from FIRST on, with NODES nodes.
	GREGOR_SIM_SEEDS=$(SEEDS) GREGOR_SIM_FIRST=$(FIRST) GREGOR_SIM_NODES=$(NODES) $(GO) test -count=1 -timeout 12h -v -run TestSeeds ./internal/sim

RUNS ?= 20
fulldisk: build ## A file system of 16 MB filled under load, RUNS times; needs root, to mount it.
	GREGOR_BIN=$(CURDIR)/$(BIN) GREGOR_FULLDISK_RUNS=$(RUNS) $(GO) test -count=1 -timeout 1h -v -run TestDiskFillsUnderLoad ./test/cluster

FAULTS ?= 1000
chaos: build ## Clusters of real processes, broken FAULTS times; LAYOUT=separate or combined, KIND=SIGSTOP picks some faults.
	GREGOR_BIN=$(CURDIR)/$(BIN) GREGOR_FAULTS=$(FAULTS) GREGOR_LAYOUT=$(LAYOUT) GREGOR_FAULT_KIND='$(KIND)' $(GO) test -count=1 -timeout 12h -v -run TestChaos ./test/cluster

mutants: ## Old bugs put back one at a time; the simulator must find each. ONLY=R1,R5 picks some.
	$(GO) run ./test/mutants -only '$(ONLY)'

POINTS ?= 200
faults: ## Real processes, broken at POINTS system calls of each kind of fault; KINDS=kill,EIO picks kinds (Linux).
	$(GO) run ./test/faults -points $(POINTS) $(if $(KINDS),-faults $(KINDS))

HOURS ?= 2
soak: build ## Three nodes at half of their maximum for HOURS, killed in turn: nothing lost, memory, descriptors and p99 flat; SOAK='-kill-every 1m' (Linux).
	$(GO) run ./test/soak -bin $(BIN) -hours $(HOURS) $(SOAK)

DIR ?= /usr/local/bin
install-links: build ## Make Kafka's command names in DIR, with and without .sh.
	@./$(BIN) install-links $(DIR)

clean:
	rm -rf bin

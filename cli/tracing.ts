import { context, propagation, SpanKind, SpanStatusCode, trace, type Attributes, type Context, type Span } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { resourceFromAttributes } from '@opentelemetry/resources'
import { BatchSpanProcessor, NodeTracerProvider, SamplingDecision, type Sampler } from '@opentelemetry/sdk-trace-node'
import { BullMQOtel } from 'bullmq-otel'
import type { Settings } from '../config/settings.js'
import type { OpenSpan, SpanAttributes, Tracing } from '../config/tracing.js'
import { AgentbusError } from '../contracts/errors.js'

const SCOPE = 'agentbus'
const FLUSH_MS = 1_000
const EXPORT_LIMIT_MS = 5_000

/**
 * OpenTelemetry over OTLP (HTTP, JSON). Loaded only when AGENTBUS_TRACES is on. The provider is the process's own: BullMQ's
 * hook finds it in OpenTelemetry's registry.
 */
export function startTracing(settings: Settings, onError: (error: Error) => void): Tracing {
  if (settings.otelExporterOtlpEndpoint === undefined) throw new AgentbusError('AGENTBUS_CONFIG', 'AGENTBUS_TRACES needs OTEL_EXPORTER_OTLP_ENDPOINT.')
  const exporter = new OTLPTraceExporter({
    url: `${settings.otelExporterOtlpEndpoint}/v1/traces`,
    headers: headersOf(settings.otelExporterOtlpHeaders),
    timeoutMillis: EXPORT_LIMIT_MS,
  })
  const provider = new NodeTracerProvider({
    resource: resourceFromAttributes({ 'service.name': settings.otelServiceName }),
    sampler: WITHOUT_HOUSEKEEPING,
    spanProcessors: [new BatchSpanProcessor(exporter, { scheduledDelayMillis: FLUSH_MS, exportTimeoutMillis: EXPORT_LIMIT_MS, maxQueueSize: 4_096 })],
  })
  provider.register()
  const tracer = trace.getTracerProvider().getTracer(SCOPE)
  const start = (name: string, kind: SpanKind, attributes: SpanAttributes, parent: Context): Span => tracer.startSpan(name, { kind, attributes: { ...attributes } }, parent)
  return {
    queueTelemetry: new BullMQOtel({ tracerName: 'bullmq' }),
    serve: (name, { parent, attributes }) => openSpan(start(name, SpanKind.SERVER, attributes, childOf(parent))),
    enqueue: (name, { parent, attributes }) => {
      const span = start(name, SpanKind.PRODUCER, attributes, childOf(parent))
      span.end()
      return { metadata: JSON.stringify(carrierOf(span)) }
    },
    call: async (name, attributes, work, outcomeOf) => {
      const span = start(name, SpanKind.CLIENT, attributes, context.active())
      try {
        const result = await work(carrierOf(span))
        span.setAttributes({ ...outcomeOf(result) } satisfies Attributes)
        return result
      } catch (error) {
        // The kind of failure; its message may quote what must not leave.
        span.setStatus({ code: SpanStatusCode.ERROR, message: error instanceof Error ? error.name : 'failed' })
        throw error
      } finally {
        span.end()
      }
    },
    stop: async () => {
      await provider.shutdown().catch((error: unknown) => onError(error instanceof Error ? error : new Error(String(error))))
      trace.disable()
      context.disable()
      propagation.disable()
    },
  }
}

function openSpan(span: Span): OpenSpan {
  return {
    traceparent: carrierOf(span)['traceparent'] ?? '',
    set: (attributes) => void span.setAttributes({ ...attributes }),
    end: (outcome) => {
      if (outcome?.error !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: outcome.error })
      span.end()
    },
  }
}

function childOf(traceparent: string | undefined): Context {
  const root = context.active()
  return traceparent === undefined ? trace.deleteSpan(root) : propagation.extract(root, { traceparent })
}

function carrierOf(span: Span): Record<string, string> {
  const carrier: Record<string, string> = {}
  propagation.inject(trace.setSpan(context.active(), span), carrier)
  return carrier
}

/** BullMQ opens a span for each look into an empty queue and each renewal of a lock: without a parent they tell nothing. */
const WITHOUT_HOUSEKEEPING: Sampler = {
  shouldSample: (parent, _traceId, _name, kind) => {
    const remote = trace.getSpanContext(parent)
    if (remote === undefined) return { decision: kind === SpanKind.INTERNAL ? SamplingDecision.NOT_RECORD : SamplingDecision.RECORD_AND_SAMPLED }
    return { decision: (remote.traceFlags & 1) === 1 ? SamplingDecision.RECORD_AND_SAMPLED : SamplingDecision.NOT_RECORD }
  },
  toString: () => 'agentbus',
}

/** `name=value,name=value`, percent-encoded, as OpenTelemetry has it. */
function headersOf(text: string | undefined): Record<string, string> {
  return Object.fromEntries(
    (text ?? '')
      .split(',')
      .filter((part) => part.includes('='))
      .map((part) => [part.slice(0, part.indexOf('=')).trim(), decodeURIComponent(part.slice(part.indexOf('=') + 1).trim())]),
  )
}

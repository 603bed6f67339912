import { ExpressAdapter } from '@bull-board/express'
import type { NextFunction, Request, Response } from 'express'

/** A <link> of the page to another host: Bull Board asks Google for its fonts. */
const FOREIGN_LINK = /<link\b[^>]*\bhref="(?:https?:)?\/\/[^>]*>/gi

/** Bull Board's page without what it loads from other hosts: the bus may run where there is no way out, and tells nobody that it is being watched. */
export class OfflineAdapter extends ExpressAdapter {
  override setEntryRoute(route: Parameters<ExpressAdapter['setEntryRoute']>[0]): ExpressAdapter {
    this.app[route.method](route.route, (_request: Request, response: Response, next: NextFunction) => {
      const { name, params } = route.handler({ basePath: this.basePath, uiConfig: this.uiConfig })
      response.render(name, params, (error: Error | null, page: string | undefined) => {
        if (page === undefined) next(error ?? new Error('the page of the board is empty'))
        else response.send(page.replaceAll(FOREIGN_LINK, ''))
      })
    })
    return this
  }
}

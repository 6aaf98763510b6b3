import type { Dashboard } from '@grafana/schema';
export type TheDashboard = Dashboard;
